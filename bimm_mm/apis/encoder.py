"""A pretrained encoder for your own code: plain PyTorch, with features.

Shapes: B clips or images, T frames, H x W pixels, L tokens (the class token
first, if there is one), D width; N files, V views of a file, K blocks.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bimm_mm.apis.clips import load_clip
from bimm_mm.apis.source import INTERVAL
from bimm_mm.models.backbones.vit import BIMMVisionTransformer
from bimm_mm.structures import Size
from bimm_mm.utils.choices import check_choice
from bimm_mm.utils.media import find_media
from bimm_mm.utils.progress import track

# ImageNet's, of R, G, B in 0..255.
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
LEVELS = ('clip', 'token')


class Encoder(nn.Module):
    """An encoder of images or videos, and what its input looks like.

    :func:`bimm_mm.load_encoder` and :func:`bimm_mm.get_model` make it.

    Args:
        backbone: The encoder itself, with ``single_output``, whose
            ``out_type`` is ``'cls_token'`` or ``'avg'``.
        mean: Of R, G, B in 0..255.
        std: Likewise.
        frame_interval: Frames from one of a clip to the next; None spreads a
            clip over the whole video.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        backbone: BIMMVisionTransformer,
        *,
        mean: Sequence[float] = MEAN,
        std: Sequence[float] = STD,
        frame_interval: int | None = INTERVAL,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.frame_interval = frame_interval
        self.source = ''  # the file of its weights, if they are from one
        for name, value in (('mean', mean), ('std', std)):
            values = torch.tensor(value, dtype=torch.float32)
            self.register_buffer(name, values.view(3, 1, 1, 1), False)

    @property
    def size(self) -> Size:
        """Frames, height and width (T, H, W) of its input."""
        return self.backbone.size

    @property
    def embed_dims(self) -> int:
        """Width D of its features."""
        return self.backbone.embed_dims

    def forward(self, x: Tensor) -> Tensor:
        """Features (B, D) of normalized clips (B, 3, T, H, W).

        Images may be (B, 3, H, W). A feature is the class token if there is
        one, else the mean of all tokens, as the model was finetuned or is to
        be.
        """
        return self.backbone(x)

    def normalize(self, x: Tensor) -> Tensor:
        """Bring bytes (B, 3, T, H, W), R, G, B, to the encoder's input."""
        return (x.to(self.mean.device).float() - self.mean) / self.std

    def embed(
        self,
        x: Any,
        *,
        level: str = 'clip',
        blocks: Sequence[int] | None = None,
        batch_size: int = 8,
        progress: bool = True,
        skip_bad: bool = False,
    ) -> Tensor:
        """Compute features of files, pictures or clips, without gradients.

        Args:
            x: What :func:`bimm_mm.load_clip` takes: a path of a video or an
                image, a PIL image, an array or tensor of bytes. A list of
                these, or a folder, which stands for all videos and images
                below it, sorted by path, gives a row for each.
            level: ``'clip'``, one feature each, or ``'token'``, all tokens.
            blocks: After how many blocks, K numbers in 1..depth.
            batch_size: How many clips or frames are encoded at a time.
            progress: Whether many files show a bar on a terminal, and a line
                a minute elsewhere.
            skip_bad: Give files that cannot be read a row of NaN and list
                them on standard error; otherwise they are an error.

        Returns:
            float32 on the CPU: (D,), or (L, D) for ``'token'``; with a row
            for each file (N, D) or (N, L, D); with ``blocks`` (K, ...). An
            encoder of images gives a video the mean over 16 frames, evenly
            spread.

        Raises:
            FileNotFoundError: If there is no such file or folder.
            ValueError: If a file cannot be read, if features are not finite,
                or if an image is given to an encoder of videos.
        """
        check_choice('level', level, LEVELS)
        if batch_size < 1:
            raise ValueError(f'batch_size={batch_size} must be 1 or more')
        many = isinstance(x, (list, tuple))
        if isinstance(x, (str, Path)) and Path(x).expanduser().is_dir():
            folder = Path(x).expanduser()
            x, many = find_media(folder, others='give others in a list'), True
        items = list(x) if many else [x]
        if not items:
            raise ValueError('there is nothing to embed: the list is empty')
        counts = list(blocks or [self.backbone.depth])
        kind = 'raw' if level == 'token' else self.backbone.out_type
        batches = self._batches(items, batch_size, skip_bad)
        if many and progress:
            batches = track(
                batches, total=len(items), title='embedding', amount=len
            )
        before = self.training
        self.eval()
        try:
            found = [
                row
                for batch in batches
                for row in self._encode(batch, batch_size, counts, kind)
            ]
        finally:
            self.train(before)
        rows = _stack(found, items)
        rows = rows if many else rows[:, 0]
        return rows if blocks else rows[0]

    def _batches(
        self, items: Sequence[Any], size: int, skip_bad: bool
    ) -> Iterator[list[Tensor | None]]:
        """Clips (V, 3, T, H, W) of as many items as fill a batch."""
        batch: list[Tensor | None] = []
        for item in items:
            try:
                batch.append(load_clip(item, self))
            except ValueError as error:
                if not isinstance(item, (str, Path)):
                    raise
                if not skip_bad:
                    raise ValueError(
                        f'{error}. Repair or remove the file, or leave such '
                        'files out with skip_bad=True (--skip-bad)'
                    ) from None
                print(f'LEFT OUT: {error}', file=sys.stderr)
                batch.append(None)
            if sum(len(x) for x in batch if x is not None) >= size:
                yield batch
                batch = []
        if batch:
            yield batch

    @torch.no_grad()
    def _encode(
        self,
        batch: Sequence[Tensor | None],
        size: int,
        counts: Sequence[int],
        out_type: str,
    ) -> list[Tensor | None]:
        """Features (K, ...) of every item, the mean over its views."""
        clips = [x for x in batch if x is not None]
        if not clips:
            return [None] * len(batch)
        parts = [
            torch.stack(self.backbone.read(part, counts, out_type), 1)
            for part in torch.cat(clips).split(size)
        ]
        views = torch.cat(parts).float().cpu().split([len(x) for x in clips])
        means = (part.mean(0) for part in views)
        return [None if x is None else next(means) for x in batch]


def _stack(found: Sequence[Tensor | None], items: Sequence[Any]) -> Tensor:
    """(K, N, ...), with NaN where a file was left out."""
    good = [row for row in found if row is not None]
    if not good:
        raise ValueError(f'none of {len(found)} files can be read')
    if len(good) < len(found):
        counts = f'{len(found) - len(good)} of {len(found)} files'
        print(f'LEFT OUT: {counts} cannot be read', file=sys.stderr)
    for row, item in zip(found, items, strict=True):
        if row is not None and not row.isfinite().all():
            raise ValueError(
                f'the features of {item} are not finite: the checkpoint or '
                'the file is broken'
            )
    blank = torch.full_like(good[0], torch.nan)
    return torch.stack([blank if x is None else x for x in found], 1)
