"""The methods: where official code is, how it is run, how keys are renamed.

Shapes: B samples, N tokens of the grid, Nh hidden ones, Q predicted numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from bimm_mm.structures import ClipBatch, Size, TokenIndices

BATCH, SIDE, TOKENS = 2, 224, 14  # pixels and tokens of a side
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
Raw = dict[str, Tensor]  # by area
# Predictions; loss, None if it is another one than here; targets, None if the
# loss is a mean of squares, whose gradient tells them.
Result = tuple[Raw, Tensor | None, Raw | None]


@dataclass
class Sample:
    """What both sides see."""

    clips: ClipBatch
    hidden: Tensor  # (B, N), bool
    indices: TokenIndices  # the same, ascending
    grid: Size

    @property
    def inputs(self) -> Tensor:
        """Images (B, 3, H, W) or clips (B, 3, T, H, W), normalized."""
        x = self.clips.inputs
        return x[:, :, 0] if self.grid[0] == 1 else x

    @property
    def levels(self) -> Tensor:
        """Images in 0 to 255, of whole numbers: exact differences for HOG."""
        return self.clips.pixels[:, :, 0] * 255


def hidden_rows(x: Tensor, sample: Sample, area: str) -> Tensor:
    """Hidden tokens (B, Nh, Q) of (B, N, Q), or of (B, 1 + N, Q)."""
    rows = x[:, -sample.hidden.shape[1] :][sample.hidden]
    return rows.unflatten(0, (BATCH, -1))


@dataclass
class Method:
    """An official code, and how it is compared."""

    config: str  # ours
    repository: str  # on GitHub; the clone has the last part of its name
    module: str  # what builds the model
    build: Callable[[Any, Path], nn.Module]  # of that and the clone's folder
    run: Callable[[Any, Sample], Result]
    # Patterns of official keys and our names; None: it is computed here.
    rules: Mapping[str, str | None]
    # Modules there and here whose outputs are compared.
    features: Sequence[tuple[str, str]] = (('norm', 'backbone.norm'),)
    inside: str = ''  # folder of the clone that is imported from
    frames: int = 1
    visible: int = 49
    colors: tuple[Sequence[float], Sequence[float]] = IMAGENET
    backbone: Mapping[str, Any] | None = None  # changes of our encoder
    tables: Sequence[str] = ()  # learned positions, set to those here
    # Predictions and targets there in the form of those here.
    pick: Callable[[Tensor, Sample, str], Tensor] = hidden_rows
    order: Tensor | None = None  # where a prediction's numbers stand there
    out_channels: int | None = None  # of its decoders, if they differ

    def clone(self, root: Path) -> Path:
        """Where its repository lies below the folder of the clones."""
        return root / self.repository.split('/')[1]


def _masked(model: nn.Module, sample: Sample, *args: Any) -> Any:
    """Call a model of MAE's kind, which hides where its noise is largest."""
    count, visible = sample.hidden.shape[1], sample.indices.visible.shape[1]
    noise = torch.linspace(0, 0.4, count) + 0.5 * sample.hidden
    with mock.patch.object(torch, 'rand', lambda *_, **__: noise):
        return model(*args, mask_ratio=1 - (visible + 0.5) / count)


def _outputs(model: nn.Module, names: Sequence[str]) -> Raw:
    """What modules will give, by the level they are for."""
    seen: Raw = {}
    for level, name in enumerate(names, 1):
        model.get_submodule(name).register_forward_hook(
            lambda _, __, x, level=f'level{level}': seen.update({level: x})
        )
    return seen


def _mae(model: nn.Module, sample: Sample) -> Result:
    loss, prediction, _ = _masked(model, sample, sample.inputs)
    return {'pixels': prediction}, loss, None


def _videomae(model: nn.Module, sample: Sample) -> Result:
    """One step of its training loop, which has target and loss."""
    seen: list[Tensor] = []
    model.register_forward_hook(lambda *x: seen.append(x[2]))
    scaler = mock.Mock(
        side_effect=lambda loss, *_, **__: seen.append(loss),
        state_dict=lambda: {'scale': 1.0},
    )
    import_module('engine_for_pretraining').train_one_epoch(
        model,
        [(sample.inputs, sample.hidden)],
        torch.optim.SGD(model.parameters(), lr=0.0, weight_decay=0.1),
        torch.device('cpu'),
        epoch=0,
        loss_scaler=scaler,
        start_steps=0,
    )
    return {'pixels': seen[0]}, seen[1], None


def _deepmim(model: nn.Module, sample: Sample) -> Result:
    """It is public for CLIP's features, 512 numbers, with another loss."""
    seen = _outputs(model, [f'decoder_pred{level}' for level in range(1, 5)])
    _masked(model, sample, sample.inputs, torch.ones(BATCH, 197, 512))
    return seen, None, None


def _localmim(model: Any, sample: Sample) -> Result:
    seen = _outputs(model, [f'decoder.{i}' for i in range(4)])
    histograms = model.HOG
    model.HOG = lambda _, level: histograms(sample.levels, level)
    targets = {f'level{i + 1}': model.HOG(None, i) for i in range(4)}
    return seen, _masked(model, sample, sample.inputs), targets


def _localmim_rows(x: Tensor, sample: Sample, area: str) -> Tensor:
    """Cells of each hidden token, (B, Nh, Q) of (B, 14 s x 14 s, 27)."""
    scale = dict(level1=4, level2=2, level3=1, level4=0.5)[area]
    cells, side = max(int(scale), 1), int(TOKENS * scale)
    maps = x.unflatten(1, (side, side))
    if scale < 1:
        maps = maps.repeat_interleave(2, 1).repeat_interleave(2, 2)
    maps = maps.unflatten(2, (TOKENS, cells)).unflatten(1, (TOKENS, cells))
    tokens = maps.transpose(2, 3).flatten(3).flatten(1, 2)
    return hidden_rows(tokens, sample, area)


def _omnimae_build(module: Any, clone: Path) -> nn.Module:
    """Its published config has biases that its model file does not hand on."""
    module.Attention = partial(module.Attention, qkv_bias=True)
    return module.vit_base_mae_pretraining(pretrained=False)


def _omnimae(model: Any, sample: Sample) -> Result:
    mask = sample.hidden.view(BATCH, *sample.grid)
    prediction = model.head(model.trunk(sample.inputs, mask=mask)[1])
    pad = import_module('omnivision.models').PadIm2Video
    loss = import_module('omnivision.losses.mae_loss').MAELoss(
        patch_size=[2, 16, 16],
        norm_pix_per_channel=True,
        unnormalize_img=IMAGENET,
        pad_object=pad(ntimes=2, pad_type='repeat'),
    )
    loss = loss.compute_mae_loss(prediction, mask, sample.inputs)
    return {'pixels': prediction}, loss, None


def _maskfeat_build(module: Any, clone: Path) -> nn.Module:
    cfg = import_module('slowfast.config.defaults').get_cfg()
    folder = clone / 'configs' / 'masked_ssl'
    cfg.merge_from_file(str(folder / 'in1k_VIT_B_MaskFeat_PT.yaml'))
    return module.MaskMViT(cfg)


def _maskfeat(model: Any, sample: Sample) -> Result:
    hog = model.hogs[0].forward
    model.hogs[0].forward = lambda _: hog(sample.levels)
    mask = sample.hidden.view(BATCH, TOKENS, TOKENS).float()
    predictions, labels = model([sample.inputs, None, mask])
    module = import_module('slowfast.models.losses')
    loss, _ = module.get_loss_func('multi_mse')()(predictions, labels)
    return {'hog': predictions[0]}, loss, {'hog': labels[0][0]}


# Numbers of a token are color, bin, cell there and cell, color, bin here.
HOG_ORDER = torch.arange(108).view(27, 4).T.flatten()
PIXELS = 'head.areas.pixels.decoder.'
ENCODER = r'((cls_token|patch_embed|blocks|norm)\b.*)'
MAE_RULES = {
    r'(decoder_)?pos_embed': None,
    ENCODER: r'backbone.\1',
    r'decoder_([a-z]+)\.(.*)': PIXELS + r'\1.\2',
    r'mask_token': PIXELS + 'mask_token',
}
OMNIMAE = Method(
    config='pretrain_omnimae_in1k_ssv2',
    repository='facebookresearch/omnivore',
    module='omnimae.omni_mae_model',
    build=_omnimae_build,
    run=_omnimae,
    rules={
        r'trunk\.(decoder\.)?pos_embed': None,
        r'trunk\.patch_embed\.proj\.1\.(.*)': r'backbone.patch_embed.proj.\1',
        r'trunk\.mask_token': PIXELS + 'mask_token',
        r'trunk\.decoder\.(decoder_)?(.*)': PIXELS + r'\2',
        r'trunk\.(.*)': r'backbone.\1',
        r'head\.(.*)': PIXELS + r'pred.\1',
    },
    features=[('trunk.norm', 'backbone.norm')],
    frames=16,
    visible=157,
)
METHODS = {
    'VideoMAE': Method(
        config='pretrain_videomae_k400',
        repository='MCG-NJU/VideoMAE',
        module='modeling_pretrain',
        build=lambda module, _: module.pretrain_videomae_base_patch16_224(
            decoder_depth=4
        ),
        run=_videomae,
        rules={
            r'encoder\.(.*)': r'backbone.\1',
            r'encoder_to_decoder\.(.*)': PIXELS + r'embed.\1',
            r'decoder\.head\.(.*)': PIXELS + r'pred.\1',
            r'decoder\.(.*)': PIXELS + r'\1',
            r'mask_token': PIXELS + 'mask_token',
        },
        features=[('encoder.norm', 'backbone.norm')],
        frames=16,
        visible=160,
        pick=lambda x, *_: x,
    ),
    'MAE': Method(
        config='pretrain_mae_in1k',
        repository='facebookresearch/mae',
        module='models_mae',
        build=lambda module, _: module.mae_vit_base_patch16(
            norm_pix_loss=True
        ),
        run=_mae,
        rules=MAE_RULES,
    ),
    # Without the class token: its decoder has another one.
    'MAE-ST': Method(
        config='pretrain_mae_st_k400',
        repository='facebookresearch/mae_st',
        module='mae_st.models_mae',
        build=lambda module, _: module.mae_vit_base_patch16(
            norm_pix_loss=True,
            decoder_embed_dim=512,
            decoder_depth=4,
            t_patch_size=2,
            pred_t_dim=8,
        ),
        run=_mae,
        rules=MAE_RULES,
        inside='..',
        frames=16,
        visible=156,
        colors=((0.45,) * 3, (0.225,) * 3),
        backbone=dict(with_cls_token=False, out_type='avg'),
        tables=('pos_embed', 'decoder_pos_embed'),
    ),
    'MaskFeat': Method(
        config='pretrain_maskfeat_in1k',
        repository='facebookresearch/SlowFast',
        module='slowfast.models.masked',
        build=_maskfeat_build,
        run=_maskfeat,
        rules={
            r'pos_embed|hogs\..*': None,
            r'pred_head\.transforms\.0\.0\.(.*)': r'backbone.norm.\1',
            r'pred_head\.projections\.0\.(.*)': (
                r'head.areas.hog.decoder.pred.\1'
            ),
            rf'mask_token|{ENCODER}': r'backbone.\g<0>',
        },
        features=[('pred_head.transforms.0.0', 'backbone.norm')],
        visible=118,
        tables=('pos_embed',),
        pick=lambda x, *_: x[:, HOG_ORDER].unflatten(0, (BATCH, -1)),
        order=HOG_ORDER,
    ),
    'DeepMIM': Method(
        config='pretrain_deepmim_in1k',
        repository='OliverRensu/DeepMIM',
        module='models_mae',
        build=lambda module, _: module.mae_vit_base_patch16(),
        run=_deepmim,
        rules={
            r'(decoder_)?pos_embed': None,
            ENCODER: r'backbone.\1',
            r'decoder_([a-z]+)(\d)\.(.*)': (
                r'head.areas.level\2.decoder.\1.\3'
            ),
            r'mask_token(\d)': r'head.areas.level\1.decoder.mask_token',
        },
        features=[
            *((f'blocks.{i}', f'backbone.blocks.{i}') for i in (5, 7, 9)),
            ('norm', 'backbone.norm'),
        ],
        out_channels=512,
    ),
    'LocalMIM': Method(
        config='pretrain_localmim_in1k',
        repository='Haoqing-Wang/LocalMIM',
        module='models_mim',
        build=lambda module, _: module.MIM_vit_base_patch16(),
        run=_localmim,
        rules={
            r'pos_embed|hog_enc\..*|decoder\.\d\.pos_embed': None,
            r'norm\.3\.(\w+)': r'backbone.norm.\1',
            # The level of a decoder, and its last layer.
            **{
                pattern.format(i, last): f'head.areas.level{i + 1}.{ours}'
                for i, last in enumerate((4, 1, 0, 1))
                for pattern, ours in (
                    (r'norm\.{}\.(.*)', r'norm.\1'),
                    (r'decoder\.{}\.pred\.{}\.(.*)', r'decoder.pred.\1'),
                    (r'decoder\.{}\.pred\.(.*)', r'decoder.enlarge.\1'),
                    (r'decoder\.{}\.(.*)', r'decoder.\1'),
                )
            },
            ENCODER: r'backbone.\1',
        },
        features=[
            *(
                (f'norm.{i}', f'head.areas.level{i + 1}.norm')
                for i in range(3)
            ),
            ('norm.3', 'backbone.norm'),
        ],
        inside='ViT',
        pick=_localmim_rows,
    ),
    'OmniMAE': OMNIMAE,
    # An image, which becomes two equal frames.
    'OmniMAE-image': Method(**{**vars(OMNIMAE), 'frames': 2, 'visible': 49}),
}
