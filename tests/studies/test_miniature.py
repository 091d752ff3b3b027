"""Small configs: what is replaced, what stays, and that they train."""

from __future__ import annotations

import copy

import pytest
from mmengine.registry import init_default_scope

from bimm_mm.apis import (
    load_config,
)
from bimm_mm.registry import MODELS
from studies.mini.data import read_list, write_list
from studies.mini.methods import (
    CONFIGS,
    FINETUNING,
    METHODS,
    VENTRAL,
    released,
)
from studies.mini.miniature import KEPT, finetuning, pretraining
from studies.mini.parts import thin_out
from studies.mini.shrink import read_size, sizes

PRETRAINED = [name for name, m in METHODS.items() if m.config]
ENCODER = {'arch', 'img_size', 'patch_size', 'num_frames'}
DECODER = {'decoder_dims', 'num_heads'}


def _pretraining(name, data, folder, **options):
    options = {'size': 'toy', 'device': 'cpu', 'steps': 2, **options}
    return pretraining(
        name,
        data=data,
        train_list=data.folds[0].train,
        seed=0,
        work_dir=folder,
        **options,
    )


def _finetuning(name, data, folder, **options):
    options = {'size': 'toy', 'device': 'cpu', 'steps': 2, **options}
    return finetuning(
        name, data=data, fold='0', seed=0, work_dir=folder, **options
    )


def _differences(small, full, path=()):
    """Paths of all leaves that differ."""
    if isinstance(small, dict) and isinstance(full, dict):
        for key in sorted({*small, *full}):
            yield from _differences(
                small.get(key), full.get(key), (*path, key)
            )
    elif isinstance(small, list | tuple) and len(small) == len(full or ()):
        for index, pair in enumerate(zip(small, full, strict=True)):
            yield from _differences(*pair, (*path, index))
    elif small != full:
        yield path


def _is_size(path) -> bool:
    """Whether the contract lets a field of the model differ."""
    if path[-1] == 'ventral_checkpoint':
        return True
    if 'backbone' in path:
        return bool(ENCODER & set(path))
    if path[-2] == 'decoder':
        return path[-1] in DECODER
    return path[-2:] == ('target', 'source')


@pytest.mark.parametrize('size', ['small', 'tiny', 'toy'])
@pytest.mark.parametrize('name', [*PRETRAINED, *VENTRAL])
def test_only_sizes_and_schedule_differ_from_the_released_config(
    name, size, study_data, tmp_path, monkeypatch
) -> None:
    monkeypatch.delenv('BIMM_CONTOURS', raising=False)
    full = released(name)
    cfg = _pretraining(name, study_data, tmp_path, size=size, device='cuda')
    changed = list(_differences(cfg.model, full.model))
    assert changed  # it is smaller
    assert [path for path in changed if not _is_size(path)] == []
    optimizer = copy.deepcopy(full.optim_wrapper)
    optimizer.optimizer.lr = read_size(size).pretrain.lr
    assert cfg.optim_wrapper == optimizer
    for key in set(KEPT) - {'model', 'optim_wrapper'}:
        assert cfg[key] == full[key]


@pytest.mark.parametrize('size', ['small', 'tiny', 'toy'])
def test_decoders_are_half_as_wide_as_the_encoder(
    size, study_data, tmp_path
) -> None:
    model = _pretraining('bimm', study_data, tmp_path, size=size).model
    arch = read_size(size).arch
    for branch in (model.ventral, model.dorsal):
        assert branch.backbone.arch == arch
        for area in branch.areas:
            decoder = area.decoder
            assert decoder.decoder_dims * 2 == arch.embed_dims
            assert decoder.num_heads == max(1, arch.num_heads // 2)
    # The rule is that of the released ViT-B.
    full = released('bimm').model.dorsal.areas[0].decoder
    assert (full.decoder_dims, full.num_heads) == (768 // 2, 12 // 2)


def test_watched_clips_are_spread_over_the_list(tmp_path) -> None:
    listed = {f'{name}/{n}.mp4': 0 for name in 'abc' for n in range(5)}
    source = write_list(listed, tmp_path / 'all.txt')
    few = read_list(thin_out(source, 3, tmp_path / 'few.txt'))
    assert list(few) == ['a/0.mp4', 'b/0.mp4', 'c/0.mp4']
    assert read_list(thin_out(source, 99, tmp_path / 'few.txt')) == listed


def test_tiny_is_small_but_for_the_encoder() -> None:
    small, tiny = read_size('small').to_dict(), read_size('tiny').to_dict()
    assert list(_differences(tiny, small)) == [
        ('arch', 'embed_dims'),
        ('arch', 'num_heads'),
    ]
    assert sizes() == ['small', 'tiny', 'toy']


@pytest.mark.parametrize('value', ['sobel', 'map'])
def test_the_environment_does_not_matter(
    value, study_data, tmp_path, monkeypatch
) -> None:
    monkeypatch.delenv('BIMM_CONTOURS', raising=False)
    plain = _pretraining('bimm', study_data, tmp_path).to_dict()
    monkeypatch.setenv('BIMM_CONTOURS', value)
    assert _pretraining('bimm', study_data, tmp_path).to_dict() == plain


@pytest.mark.parametrize('name', [*PRETRAINED, *VENTRAL])
def test_every_method_can_be_built(name, study_data, tmp_path) -> None:
    cfg = _pretraining(name, study_data, tmp_path)
    init_default_scope(cfg.default_scope)
    model = MODELS.build(cfg.model)
    mask = cfg.model.get('dorsal', cfg.model).masking.ratio
    branch = getattr(model, 'dorsal', model)
    assert branch.masking.ratio == mask
    grid = (1, 4, 4) if name in VENTRAL else (4, 4, 4)
    assert branch.backbone.grid() == grid


def test_small_videomae_is_the_released_vit_s(study_data, tmp_path) -> None:
    cfg = _pretraining('videomae', study_data, tmp_path, size='small')
    init_default_scope(cfg.default_scope)
    model = MODELS.build(cfg.model)
    numbers = sum(parameter.numel() for parameter in model.parameters())
    # As configs/_base_/models/videomae_small.py says; no size of the input
    # is in it.
    assert numbers == 24_029_376


def test_ventral_stages_see_single_frames(study_data, tmp_path) -> None:
    stage = _pretraining('ventral', study_data, tmp_path)
    assert stage.data_preprocessor.clip_len == 1
    joint = _pretraining('bimm', study_data, tmp_path)
    assert joint.data_preprocessor.clip_len == 8


def test_full_size_curves_have_fifty_points(study_data, tmp_path) -> None:
    cfg = _pretraining('bimm', study_data, tmp_path, size='small', steps=None)
    steps = cfg.train_cfg.max_iters
    assert steps // cfg.train_cfg.val_interval >= 50
    assert steps // cfg.default_hooks.logger.interval >= 50
    assert cfg.custom_hooks[-1].interval == steps // 4
    warm_up, cosine = cfg.param_scheduler
    assert warm_up.end == cosine.begin == steps // 20


def test_all_methods_have_the_same_schedule_and_data(
    study_data, tmp_path
) -> None:
    configs = [
        _pretraining(name, study_data, tmp_path, size='small')
        for name in PRETRAINED
    ]
    keys = set(configs[0]) - {'model'}
    for cfg in configs[1:]:
        assert {k: cfg[k] for k in keys} == {k: configs[0][k] for k in keys}


def test_labels_of_test_clips_are_not_in_the_diagnosis(
    study_data, tmp_path
) -> None:
    cfg = _pretraining('videomae', study_data, tmp_path)
    train = read_list(study_data.folds[0].train)
    labelled = cfg.custom_hooks[-1].knn.dataset.ann_file
    assert read_list(labelled) == train
    assert read_list(cfg.val_dataloader.dataset.ann_file) == train
    everything = pretraining(
        'videomae',
        size='toy',
        data=study_data,
        train_list=study_data.all_list,
        seed=0,
        work_dir=tmp_path,
        device='cpu',
    )
    assert 'knn' not in everything.custom_hooks[-1]


def test_finetuning_keeps_the_released_recipe(study_data, tmp_path) -> None:
    full = load_config(CONFIGS / FINETUNING)
    cfg = _finetuning('bimm', study_data, tmp_path, checkpoint='a.pth')
    allowed = {
        *ENCODER,
        'data_preprocessor',
        'checkpoint',
        'in_channels',
        'num_classes',
    }
    changed = list(_differences(cfg.model, full.model))
    assert [path for path in changed if not allowed & set(path)] == []
    assert cfg.model.cls_head.num_classes == 3
    assert cfg.optim_wrapper.paramwise_cfg == full.optim_wrapper.paramwise_cfg
    assert 'val_dataloader' not in cfg
    assert 'save_best' not in cfg.default_hooks.checkpoint
    fold = study_data.folds[0]
    assert cfg.train_dataloader.dataset.ann_file == str(fold.train)
    assert cfg.test_dataloader.dataset.ann_file == str(fold.val)


def test_scratch_learns_in_all_layers_alike(study_data, tmp_path) -> None:
    cfg = _finetuning('scratch', study_data, tmp_path)
    other = _finetuning('bimm', study_data, tmp_path, checkpoint='a.pth')
    assert cfg.model.backbone.init_cfg is None
    assert [
        path
        for path in _differences(cfg.to_dict(), other.to_dict())
        if path[0] != 'model'
    ] == [('optim_wrapper', 'paramwise_cfg', 'layer_decay')]
    assert cfg.optim_wrapper.paramwise_cfg.layer_decay == 1.0
    with pytest.raises(ValueError, match='scratch is not pretrained'):
        _finetuning('scratch', study_data, tmp_path, checkpoint='a.pth')


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'size': 'huge'}, r"no size 'huge'.*small, tiny, toy"),
        ({'steps': 0}, 'steps=0 must be at least 1'),
        ({'lr': 0.0}, r'lr=0\.0 must be above 0'),
        ({'device': 'tpu'}, r"device='tpu' is unknown.*cuda, cpu"),
        ({'ventral_checkpoint': 'a.pth'}, 'videomae has no ventral branch'),
    ],
)
def test_wrong_arguments_are_told(
    options, message, study_data, tmp_path
) -> None:
    with pytest.raises(ValueError, match=message):
        _pretraining('videomae', study_data, tmp_path, **options)
