"""All frames of a small set of videos, on the device of the model.

Shapes: V videos, N frames of all of them, S x S pixels.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

_GIB = 2**30
# Of what is available: the model and the batches need memory too.
_SHARE = 0.9


class DeviceFrames(NamedTuple):
    """Frames of V videos, on one device.

    Args:
        frames (Tensor): (N, 3, S, S) uint8, R, G, B.
        start (Tensor): (V,) int64, first frame of a video.
        length (Tensor): (V,) int64, frames of a video.
        ratio (Tensor): (V,) fp32, width by height of the file's picture.
    """

    frames: Tensor
    start: Tensor
    length: Tensor
    ratio: Tensor


class FrameStore:
    """Frames of a list of videos; a copy for each device that asks.

    It is no part of a model's state: checkpoints do not hold it, averaged
    models share it and distributed training does not send it around.

    Args:
        frames (DeviceFrames): On the CPU.
        digest (str): See :attr:`VideoList.digest`.
    """

    def __init__(self, frames: DeviceFrames, digest: str) -> None:
        self.digest = digest
        self._copies = {torch.device('cpu'): frames}

    def __len__(self) -> int:
        return len(self.on(torch.device('cpu')).start)

    def __deepcopy__(self, memo: dict) -> FrameStore:
        """Itself, so that a copied model has no frames of its own."""
        return self

    def on(self, device: torch.device) -> DeviceFrames:
        """The frames on a device, copied there once.

        Args:
            device (torch.device): Where.

        Returns:
            DeviceFrames: Not to be changed.

        Raises:
            MemoryError: If they do not fit.
        """
        if device.type == 'cuda' and device.index is None:
            # Else 'cuda' and 'cuda:0' would each have a copy.
            device = torch.device('cuda', torch.cuda.current_device())
        if device not in self._copies:
            host = self._copies[torch.device('cpu')]
            if device.type == 'cuda':
                room = _SHARE * _free_memory(device)
                check_room(host.frames.shape, room, f'{device} has')
            copied = (part.to(device) for part in host)
            self._copies[device] = DeviceFrames(*copied)
        return self._copies[device]


def check_room(shape: tuple[int, ...], room: float, where: str) -> None:
    """Refuse frames that do not fit.

    Args:
        shape (tuple[int, ...]): (N, 3, S, S).
        room (float): Bytes that they may take.
        where (str): What has so much room, with its verb.

    Raises:
        MemoryError: If they need more.
    """
    size = torch.Size(shape).numel()
    if size <= room:
        return
    fitting = int(shape[-1] * (room / size) ** 0.5)
    raise MemoryError(
        f'{shape[0]} frames at side={shape[-1]} need {size / _GIB:.2f} GiB, '
        f'but {where} room for {room / _GIB:.2f} GiB: set a smaller side '
        f'(at most {fitting}), list fewer videos, or decode for each batch '
        '(bimm_mm.InMemoryVideoDataset, or the plain VideoDataset)'
    )


def _free_memory(device: torch.device) -> int:
    """Bytes of a GPU that are free, or that PyTorch holds and uses not."""
    free, _ = torch.cuda.mem_get_info(device)
    held = torch.cuda.memory_reserved(device)
    return free + held - torch.cuda.memory_allocated(device)
