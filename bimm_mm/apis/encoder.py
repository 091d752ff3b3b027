"""A pretrained encoder for your own code: plain PyTorch, with features.

Shapes: B clips or images, T frames, H x W pixels, L tokens (the class token
first, if there is one), D width; N files, V views of a file, K blocks.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bimm_mm.apis.clips import load_clip
from bimm_mm.apis.source import INTERVAL
from bimm_mm.models.backbones.vit import BIMMVisionTransformer
from bimm_mm.structures import Size, check_pixels
from bimm_mm.utils.choices import check_choice, multiple
from bimm_mm.utils.media import find_media
from bimm_mm.utils.progress import track

# ImageNet's, of R, G, B in 0..255.
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
LEVELS = ('clip', 'token')
# Of a config's backbone: what training, or another task, has it for.
_LEFT = ('type', 'init_cfg', 'out_indices', 'single_output', 'with_cp')


class Encoder(nn.Module):
    """An encoder of images or videos, and what its input looks like.

    :func:`bimm_mm.load_encoder` and :func:`bimm_mm.get_model` make it.

    Args:
        options: Of :class:`bimm_mm.models.BIMMVisionTransformer`. Whatever
            ``out_type`` is, there is one feature for each input.
        mean: Of R, G, B in 0..255.
        std: Likewise.
        frame_interval: Frames from one of a clip to the next; None spreads a
            clip over the whole video.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        options: Mapping[str, Any],
        *,
        mean: Sequence[float] = MEAN,
        std: Sequence[float] = STD,
        frame_interval: int | None = INTERVAL,
    ) -> None:
        super().__init__()
        self.options = {k: v for k, v in options.items() if k not in _LEFT}
        token = options.get('with_cls_token', True)
        pooled = options.get('out_type') == 'avg' or not token
        self.options['out_type'] = 'avg' if pooled else 'cls_token'
        self.backbone = BIMMVisionTransformer(
            **self.options, single_output=True
        )
        self.frame_interval = frame_interval
        self.source = ''  # the file of its weights, if they are from one
        # After which block each area was decoded in pretraining, if known.
        self.areas: dict[str, int] = {}
        check_pixels(mean, std)
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
        multiple('batch_size', batch_size)
        many = isinstance(x, (list, tuple))
        if isinstance(x, (str, Path)) and Path(x).expanduser().is_dir():
            folder = Path(x).expanduser()
            x, many = find_media(folder, others='give others in a list'), True
        items = list(x) if many else [x]
        if not items:
            raise ValueError('there is nothing to embed: the list is empty')
        counts = [self.backbone.depth] if blocks is None else list(blocks)
        kind = 'raw' if level == 'token' else self.backbone.out_type
        batches = self._batches(items, batch_size, skip_bad)
        if many and progress:
            batches = track(
                batches, total=len(items), title='embedding', amount=len
            )
        before = self.training
        self.eval()
        found: list[Tensor | None] = []
        try:
            for batch in batches:
                clips = [clip for clip in batch if clip is not None]
                rows = iter(self.encode(clips, counts, kind, batch_size))
                found += [None if x is None else next(rows) for x in batch]
        finally:
            self.train(before)
        table = _stack(found, items)
        table = table if many else table[:, 0]
        return table if blocks is not None else table[0]

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
                        f'{error}. Correct that, or leave such '
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
    def encode(
        self,
        clips: Sequence[Tensor],
        blocks: Sequence[int],
        kind: str,
        batch_size: int,
    ) -> list[Tensor]:
        """Features (K, ...) of every clip, float32, the mean over its views.

        Args:
            clips: Normalized, (V, 3, T, H, W) each.
            blocks: After how many blocks, K numbers in 1..depth.
            kind: An ``out_type`` of the backbone; or ``'mean'``, that of the
                patch tokens, of the last block behind the final norm.
            batch_size: How many views are encoded at a time.
        """
        if not clips:
            return []
        parts = []
        for x in torch.cat(list(clips)).split(batch_size):
            out_type = 'raw' if kind == 'mean' else kind
            rows = torch.stack(self.backbone.read(x, blocks, out_type), 1)
            if kind == 'mean':
                # The patches stand behind the class token, if there is one.
                first = int(self.backbone.cls_token is not None)
                rows = rows[:, :, first:].float().mean(2)
            parts.append(rows.float().cpu())
        views = torch.cat(parts).split([len(x) for x in clips])
        return [x.mean(0) for x in views]


def report_left_out(left: int, total: int) -> None:
    """Count files that cannot be read; that is an error if there is no other.

    Each was named before.
    """
    if left == total:
        raise ValueError(f'none of {total} files can be read')
    if left:
        print(
            f'LEFT OUT: {left} of {total} files cannot be read',
            file=sys.stderr,
        )


def check_finite(row: Tensor, name: Any) -> None:
    """Refuse features that are NaN or infinite."""
    if not row.isfinite().all():
        raise ValueError(
            f'the features of {name} are not finite: the checkpoint or the '
            'file is broken'
        )


def _stack(found: Sequence[Tensor | None], items: Sequence[Any]) -> Tensor:
    """(K, N, ...), with NaN where a file was left out."""
    good = [row for row in found if row is not None]
    report_left_out(len(found) - len(good), len(found))
    for row, item in zip(found, items, strict=True):
        if row is not None:
            check_finite(row, item)
    blank = torch.full_like(good[0], torch.nan)
    return torch.stack([blank if x is None else x for x in found], 1)
