"""Where an encoder is tapped: after how many of its blocks."""

from __future__ import annotations

from collections.abc import Sequence


def to_taps(
    out_indices: Sequence[int], depth: int, *, single: bool = False
) -> list[int]:
    """OpenMMLab's indices of blocks -> numbers of blocks before the tap.

    Args:
        out_indices (Sequence[int]): Blocks, from 0, or from -1 backwards.
        depth (int): Number of blocks.
        single (bool): Whether there may be only one. Defaults to False.

    Returns:
        list[int]: Taps, each in 1..depth.

    Raises:
        ValueError: There is none, or the encoder has no such block, or there
            are several but may be one only.
    """
    if not out_indices:
        raise ValueError('out_indices is empty: name at least one block')
    if single and len(out_indices) > 1:
        raise ValueError(
            f'single_output=True, but out_indices={list(out_indices)} asks '
            'for several: name one block'
        )
    for index in out_indices:
        if not -depth <= index < depth:
            raise ValueError(
                f'out_indices has {index}, but the encoder has {depth} '
                f'blocks: 0..{depth - 1} or negative'
            )
    return [index % depth + 1 for index in out_indices]


def check_taps(taps: Sequence[int], depth: int) -> None:
    """Refuse taps that are not in 1..depth.

    Args:
        taps (Sequence[int]): Numbers of blocks.
        depth (int): Number of blocks.

    Raises:
        ValueError: There is none, or the encoder has fewer blocks.
    """
    if not taps or any(not 1 <= tap <= depth for tap in taps):
        raise ValueError(
            f'taps {list(taps)}: give at least one, each in 1..{depth}, the '
            'number of blocks'
        )
