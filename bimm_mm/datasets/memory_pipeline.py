"""Pipelines that decode, turned into ones that read from memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bimm_mm.datasets.frame_memory import FrameMemory
from bimm_mm.utils.list_file import type_name

# Options of SampleFrames with which frames are at any distance.
_ANY_DISTANCE = ('temporal_jitter', 'target_fps')


def read_from_memory(pipeline: list, memory: FrameMemory) -> list:
    """Put reading from memory in the place of decoding.

    Args:
        pipeline (list[dict]): Config of a pipeline with mmaction2's
            ``DecordInit`` and ``DecordDecode``, also inside other transforms
            such as :class:`bimm_mm.SafeDecode`.
        memory (FrameMemory): The videos.

    Returns:
        list[dict]: Config of the new pipeline; the old one stays as it is.

    Raises:
        ValueError: If the pipeline does not decode with decord from disk, or
            samples frames that a stride leaves out.
    """
    steps = list(_walk(pipeline))
    _check_decoding(steps)
    if memory.stride > 1:
        _check_sampling(steps, memory.stride)
    opening = {'type': 'bimm_mm.OpenFromMemory', 'memory': memory}
    taking = {'type': 'bimm_mm.TakeFrames'}
    return _replaced(pipeline, {'DecordInit': opening, 'DecordDecode': taking})


def _walk(part: object) -> Iterator[Mapping[str, Any]]:
    """All transforms of a config, also those inside others."""
    if isinstance(part, Mapping):
        if 'type' in part:
            yield part
        part = list(part.values())
    if isinstance(part, (list, tuple)):
        for inner in part:
            yield from _walk(inner)


def _replaced(part: Any, steps: Mapping[str, dict]) -> Any:
    if isinstance(part, Mapping):
        if 'type' in part and type_name(part) in steps:
            return steps[type_name(part)]
        return {key: _replaced(value, steps) for key, value in part.items()}
    if isinstance(part, (list, tuple)):
        return type(part)(_replaced(inner, steps) for inner in part)
    return part


def _check_decoding(steps: list[Mapping[str, Any]]) -> None:
    names = [type_name(step) for step in steps]
    if (names.count('DecordInit'), names.count('DecordDecode')) != (1, 1):
        raise ValueError(
            'bimm_mm.InMemoryVideoDataset decodes with decord: its pipeline '
            "needs mmaction2's DecordInit and DecordDecode once each (it puts "
            f'reading from memory in their place), it has {names}'
        )
    opening = steps[names.index('DecordInit')]
    if opening.get('io_backend', 'disk') != 'disk':
        raise ValueError(
            'bimm_mm.InMemoryVideoDataset reads files, not '
            f'DecordInit(io_backend={opening["io_backend"]!r}): copy the '
            'videos to a disk, or use the plain VideoDataset'
        )
    mode = steps[names.index('DecordDecode')].get('mode', 'accurate')
    if mode != 'accurate':
        raise ValueError(
            f'DecordDecode(mode={mode!r}) is for decoding less, and nothing '
            'is left to decode: leave mode out'
        )


def _check_sampling(steps: list[Mapping[str, Any]], stride: int) -> None:
    """Rounded down, sampled frames must keep their distance."""
    samplers = [s for s in steps if 'Sample' in type_name(s)]
    samplers = [s for s in samplers if not type_name(s).startswith('Repeat')]
    for step in samplers:
        name, interval = type_name(step), step.get('frame_interval', 1)
        wrong = [key for key in _ANY_DISTANCE if step.get(key)]
        if name != 'SampleFrames' or wrong:
            raise ValueError(
                f'{name}({", ".join(wrong)}) samples at distances that '
                f'stride={stride} of bimm_mm.InMemoryVideoDataset has no '
                'frames for: set stride=1 (and a smaller side)'
            )
        if step['clip_len'] > 1 and interval % stride:
            raise ValueError(
                f'frame_interval={interval} of SampleFrames is no multiple of '
                f'stride={stride} of bimm_mm.InMemoryVideoDataset, so that '
                'frames would not keep their distance: set a stride that '
                f'divides {interval}'
            )
    if any(type_name(step) == 'AppendFollowing' for step in steps):
        raise ValueError(
            'bimm_mm.AppendFollowing needs every frame: set stride=1 of '
            f'bimm_mm.InMemoryVideoDataset, got {stride}'
        )
