"""Features of a whole dataset, from a config and a checkpoint.

Shapes: B samples, M views (clips x crops), C channels, T frames, H x W
pixels; D width.
"""

from __future__ import annotations

import hashlib
import json
import logging
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.dist import all_gather_object, get_dist_info
from mmengine.logging import print_log
from mmengine.registry import DATASETS, MODELS, init_default_scope
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from bimm_mm.apis.encoder import Encoder, check_finite, report_left_out
from bimm_mm.apis.feature_file import Features, by_block
from bimm_mm.datasets import SafeDecode
from bimm_mm.datasets.transforms.formatting import find_label, find_path
from bimm_mm.models.backbones.vit import BIMMVisionTransformer
from bimm_mm.models.checkpoints.load import load_pretrained
from bimm_mm.utils.choices import check_choice
from bimm_mm.utils.device import find_device
from bimm_mm.utils.files import sha256_of_file
from bimm_mm.utils.list_file import type_name
from bimm_mm.utils.progress import track
from bimm_mm.utils.random_state import torch_seeded
from bimm_mm.utils.reading import worker_deaths_named
from bimm_mm.utils.video import UndecodableVideoError
from bimm_mm.version import __version__

POOLS = ('cls', 'avg')
# Features without learning, which a pretrained encoder must beat.
TRIVIAL = ('motion-energy', 'middle-frame')
KINDS = ('encoder', 'random', *TRIVIAL)
# They repeat samples or replace them, and each is wanted once.
_WRAPPERS = ('RepeatDataset', 'ResilientDataset', 'ClassBalancedDataset')
# From inputs as the pipeline packs them to features (K, D) of each sample.
Extractor = Callable[[Tensor], Iterable[Tensor]]


class _Sample(NamedTuple):
    """One sample; ``value`` is its input, later its features (K, D)."""

    row: int
    path: str
    label: int
    value: Any
    fault: str = ''


def extract_features(
    cfg: Config,
    checkpoint: str | None = None,
    *,
    kind: str = 'encoder',
    split: str = 'val',
    pipeline: str | None = None,
    blocks: Sequence[int] = (),
    pool: str | None = None,
    device: str | None = None,
    amp: bool = False,
    skip_bad: bool = False,
    seed: int = 0,
) -> Features:
    """Features of a split of a config's data, in the order of the dataset.

    Under torchrun every process extracts a share and returns all features.

    Args:
        cfg: A classification config of mmaction2 or mmpretrain with our
            encoder.
        checkpoint: None: random weights, which is said.
        kind: ``'encoder'``, ``'random'``, the encoder without the checkpoint,
            or a trivial feature, see :func:`trivial_features`.
        split: Which dataset of the config: ``'train'``, ``'val'``, ``'test'``.
        pipeline: Whose transforms and batch size, ``'val'`` or ``'test'``;
            None: of ``'test'`` for its own split, else of ``'val'``.
        blocks: After how many blocks, each in 1..depth; the last if empty.
        pool: ``'cls'``, the class token, or ``'avg'``, the mean of the patch
            tokens; None: the class token if there is one.
        device: See :func:`bimm_mm.utils.device.find_device`.
        amp: Run the encoder in bfloat16 autocast.
        skip_bad: Leave out files that cannot be read, and list them;
            otherwise they are an error.
        seed: Of random weights.

    Raises:
        FileNotFoundError: If the checkpoint or a list file does not exist.
        ValueError: If the config, the checkpoint or a sample does not serve.
    """
    check_choice('kind', kind, KINDS)
    check_choice('pool', pool, (None, *POOLS))
    views = pipeline or ('test' if split == 'test' else 'val')
    dataset = _Samples(cfg, split=split, pipeline=views)
    meta: dict[str, Any] = {'features': kind}
    extract: Extractor
    if kind in TRIVIAL:
        extract = partial(trivial_features, kind)
    else:
        extract, meta = _encoder_features(
            cfg,
            checkpoint if kind == 'encoder' else None,
            blocks=blocks,
            pool=pool,
            device=device,
            amp=amp,
            seed=seed,
        )
    rank, processes = get_dist_info()
    loader = DataLoader(
        Subset(dataset, range(rank, len(dataset), processes)),
        batch_size=cfg[f'{views}_dataloader'].get('batch_size', 1),
        num_workers=cfg[f'{views}_dataloader'].get('num_workers', 0),
        collate_fn=list,
        # Else each pass draws from the caller's random numbers.
        generator=torch.Generator(),
    )
    found: list[_Sample] = []
    with worker_deaths_named(None):
        for samples in track(loader, total=len(loader), title=kind):
            found += _extract(samples, extract, skip_bad)
    shares = all_gather_object(found)
    samples = sorted(chain(*shares), key=lambda each: each.row)
    good = [sample for sample in samples if not sample.fault]
    skipped = [(each.path, each.fault) for each in samples if each.fault]
    for _, fault in skipped:
        print(f'LEFT OUT: {fault}', file=sys.stderr)
    report_left_out(len(skipped), len(samples))
    meta |= {
        'split': split,
        'pipeline': views,
        'folders': dataset.folders,
        'config': cfg.filename,
        'config_text': json.dumps(cfg.to_dict(), default=str),
        'software': f'bimm_mm {__version__}, torch {torch.__version__}',
        'skipped': skipped,
    }
    table = torch.stack([each.value for each in good], 1).numpy()
    return Features(
        by_block(table, meta.get('blocks', [0])),
        np.asarray([each.label for each in good], dtype=np.int64),
        [each.path for each in good],
        meta,
    )


class _Samples(Dataset[_Sample]):
    """Every sample of a split once, through a pipeline for evaluation."""

    def __init__(self, cfg: Config, *, split: str, pipeline: str) -> None:
        init_default_scope(cfg.get('default_scope', 'mmengine'))
        self.dataset = DATASETS.build(_innermost(cfg, split))
        if not len(self.dataset):
            raise ValueError(f'the {split} set of the config is empty')
        self.pipeline = guarded(_innermost(cfg, pipeline)['pipeline'])
        prefix = self.dataset.data_prefix
        values = prefix.values() if isinstance(prefix, Mapping) else [prefix]
        folders = {value.rstrip('/') + '/' for value in values if value}
        # The longest first: one may contain another.
        self.folders = sorted(folders, key=len, reverse=True)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> _Sample:
        """Decode one sample; a file that cannot be read is no error here."""
        info = self.dataset.get_data_info(index)
        # Relative to the dataset's folder, '#<index>' without a file.
        path = find_path(info) or f'#{index}'
        inside = [each for each in self.folders if path.startswith(each)]
        path = path.removeprefix(inside[0]) if inside else path
        label = find_label(info)
        if label is None or label < 0:
            raise ValueError(
                f'{path} has the label {label!r}: a probe needs exactly one '
                'class, from 0, for each sample'
            )
        try:
            inputs = self.pipeline(info)['inputs']
        except (UndecodableVideoError, FileNotFoundError) as error:
            return _Sample(index, path, label, None, str(error))
        return _Sample(index, path, label, inputs)


def guarded(steps: Sequence[Mapping[str, Any]]) -> Callable[[dict], Any]:
    """Build transforms that refuse a damaged file by its name."""
    safe = any(type_name(step) == 'SafeDecode' for step in steps)
    return Compose(steps) if safe else SafeDecode(steps)


def _innermost(cfg: Config, split: str) -> Mapping[str, Any]:
    """Config of a split's dataset, without what repeats its samples."""
    loader = cfg.get(f'{split}_dataloader')
    if loader is None:
        raise ValueError(
            f'the config has no {split}_dataloader: choose another split or '
            'pipeline'
        )
    dataset = loader['dataset']
    while 'pipeline' not in dataset:
        if type_name(dataset) not in _WRAPPERS:
            raise ValueError(
                f'the {split} set of the config is a {type_name(dataset)}, of '
                'which features cannot be extracted: name one dataset with a '
                f'pipeline, bare or in {", ".join(_WRAPPERS)}'
            )
        dataset = dataset['dataset']
    return dataset


def _extract(
    samples: Sequence[_Sample], extract: Extractor, skip_bad: bool
) -> list[_Sample]:
    """A batch with features in place of inputs, bad files as they are."""
    good = [sample for sample in samples if not sample.fault]
    found = [sample for sample in samples if sample.fault]
    if found and not skip_bad:
        raise ValueError(
            f'{found[0].fault}. Correct that, or leave such '
            'files out with --skip-bad'
        )
    if good:
        # The libraries would pad what does not stack, so that the others of
        # a batch would matter.
        rows = extract(torch.stack([sample.value for sample in good]))
        for sample, row in zip(good, rows, strict=True):
            check_finite(row, sample.path)
            found.append(sample._replace(value=row))
    return found


def _encoder_features(
    cfg: Config,
    checkpoint: str | None,
    *,
    blocks: Sequence[int],
    pool: str | None,
    device: str | None,
    amp: bool,
    seed: int,
) -> tuple[Extractor, dict[str, Any]]:
    """Features after any block of an encoder, and where they come from."""
    where = find_device(device)
    encoder, preprocessor = _build(cfg, seed)
    backbone = encoder.backbone
    counts = list(blocks) or [backbone.depth]
    with_token = backbone.cls_token is not None
    pool = pool or POOLS[not with_token]
    if pool == 'cls' and not with_token:
        raise ValueError('the encoder has no class token: use pool=avg')
    if checkpoint is None:
        print_log(
            f'NO CHECKPOINT: features of random weights, seed {seed}',
            'current',
            logging.WARNING,
        )
    else:
        load_pretrained(backbone, checkpoint)
    encoder.to(where).eval()
    preprocessor.to(where)
    kind = {'cls': 'cls_token', 'avg': 'mean'}[pool]

    def extract(inputs: Tensor) -> Iterable[Tensor]:
        batch = {'inputs': list(inputs), 'data_samples': None}
        x = _views(preprocessor(batch)['inputs'], video=backbone.video)
        # As many clips at a time as there are samples, whatever the views.
        count = len(inputs)
        with torch.autocast(where.type, torch.bfloat16, enabled=amp):
            views = x.unflatten(0, (count, -1))
            return encoder.encode(list(views), counts, kind, count)

    text = json.dumps(cfg.model.to_dict(), default=str)
    return extract, {
        'features': 'encoder' if checkpoint else 'random',
        'checkpoint': checkpoint,
        'checkpoint_sha256': checkpoint and sha256_of_file(checkpoint),
        'model_sha256': hashlib.sha256(text.encode()).hexdigest(),
        'seed': None if checkpoint else seed,
        'blocks': counts,
        'pool': pool,
        'amp': amp,
    }


def _views(x: Tensor, *, video: bool) -> Tensor:
    """A batch of any shape -> (B M, C, T, H, W)."""
    if x.ndim == 6 or (x.ndim == 5 and not video):
        x = x.flatten(0, 1)
    if x.ndim == 4 and not video:
        x = x.unsqueeze(2)
    if x.ndim != 5 or (not video and x.shape[2] > 1):
        raise ValueError(
            f'the pipeline gives {tuple(x.shape)}, which '
            f'{"a video" if video else "an image"} encoder does not take: '
            'pack videos with FormatShape(NCTHW) for a video encoder, and '
            "with FormatShape(NCHW) for the mean of an image encoder's "
            'features over the frames'
        )
    return x


def _build(cfg: Config, seed: int) -> tuple[Encoder, Any]:
    """The encoder of a config, random weights of the seed, and its input."""
    model = cfg.get('model', {})
    given = model.get('backbone') or {'type': 'None'}
    known = type_name(given) == BIMMVisionTransformer.__name__
    if not known or not ('cls_head' in model or 'head' in model):
        raise ValueError(
            f'model {model.get("type")} with backbone {given["type"]}: '
            "features are extracted with a config of mmaction2's "
            "Recognizer3D or mmpretrain's ImageClassifier whose backbone is "
            'bimm_mm.BIMMVisionTransformer, such as '
            'configs/downstream/*/finetune_*.py'
        )
    kind = 'Action' if 'cls_head' in model else 'Cls'
    pixels = model.get('data_preprocessor') or cfg.get('data_preprocessor')
    preprocessor = MODELS.build(
        {'type': f'{kind}DataPreprocessor', **(pixels or {})}
    )
    with torch_seeded(seed):
        return Encoder(given), preprocessor


def trivial_features(kind: str, inputs: Tensor) -> Tensor:
    """One of ``TRIVIAL``, as float32 (B, 1, D), the mean over the views.

    ``'motion-energy'``: how much every cell of an 8x8 grid changes from frame
    to frame, the absolute difference of gray frames (mean of the channels),
    D = 64 (T - 1). ``'middle-frame'``: that frame at 16x16 pixels, D = 256 C.
    Inputs are as the pipeline packs them, uint8: (B, M, C, T, H, W),
    (B, C, T, H, W) or images (B, C, H, W).
    """
    x = inputs.unsqueeze(2) if inputs.ndim == 4 else inputs
    x = x.unsqueeze(1) if x.ndim == 5 else x
    if kind == 'motion-energy' and x.shape[3] < 2:
        raise ValueError(
            'motion-energy needs at least two frames of a clip, and the '
            'pipeline gives one: use middle-frame'
        )
    if kind == 'motion-energy':
        maps, side = x.mean(2, dtype=torch.float).diff(dim=2).abs(), 8
    else:
        maps, side = x[:, :, :, x.shape[3] // 2].float(), 16
    pooled = F.adaptive_avg_pool2d(maps.flatten(0, 1), side).flatten(1)
    return pooled.unflatten(0, maps.shape[:2]).mean(1, keepdim=True)
