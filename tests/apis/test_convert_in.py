"""Pretraining goes on here from checkpoints of others, with their decoder.

The files are written by the other projects' own classes, or hold their names
and shapes, and the published formula says what they predict.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from torch import Tensor
from torch.distributed.checkpoint.format_utils import dcp_to_torch_save

import bimm_mm.compat  # noqa: F401  (repairs imports of transformers)
from bimm_mm.apis.convert import convert_checkpoint
from bimm_mm.apis.inference import init_model
from bimm_mm.models.checkpoints.load import read_state_dict
from bimm_mm.models.layers.transformer import position_table
from tests.apis.convert_cases import (
    MMPRETRAIN,
    assert_same,
    branch,
    picture,
    predict,
)
from tests.official_forms import (
    DIM,
    HEADS,
    WIDE,
    deepmim,
    localmim,
    mae,
    mae_st,
    of_image,
    omnimae,
    sizes_of_transformers,
    timm,
    videomae,
)
from tests.restated import predict_mae, predict_videomae, randomized

VISIBLE = {
    False: torch.tensor([[1, 2]] * 2),
    True: torch.tensor([[1, 2, 5, 6]] * 2),
}
RESTORE = torch.tensor([[2, 0, 1, 3]] * 2)  # of 1, 2, 0, 3
Predict = Callable[[Tensor], Tensor]


def official(folder: Path, video: bool) -> tuple[Path, Predict]:
    """As their ``save_model``, with the arguments of the script."""
    form = videomae() if video else mae()
    path = folder / 'official.pth'
    args = argparse.Namespace(lr=1e-3)
    torch.save(dict(model=form.state, optimizer={}, epoch=3, args=args), path)
    restated = predict_videomae if video else predict_mae
    visible = VISIBLE[video][0]
    return path, lambda x: restated(form.state, x, visible, heads=(HEADS, 2))


def by_transformers(folder: Path, video: bool) -> tuple[Path, Predict]:
    """``save_pretrained``, in parts for images."""
    transformers = pytest.importorskip('transformers')
    kind = 'VideoMAE' if video else 'ViTMAE'
    clip = dict(num_frames=4, tubelet_size=2, use_mean_pooling=False)
    config = getattr(transformers, f'{kind}Config')(
        decoder_hidden_size=WIDE,
        decoder_num_hidden_layers=1,
        decoder_num_attention_heads=2,
        decoder_intermediate_size=4 * WIDE,
        **sizes_of_transformers(**(clip if video else {})),
    )
    model = getattr(transformers, f'{kind}ForPreTraining')(config)
    randomized(model, std=0.2)
    if not video:  # as its released files; a new model has zeros
        model.vit.embeddings.position_embeddings.copy_(of_image())
        model.decoder.decoder_pos_embed.copy_(of_image(WIDE))
    model.save_pretrained(folder, max_shard_size='1GB' if video else '40KB')
    if video:
        model.decoder.norm.eps = 1e-6  # theirs is torch's own
        hidden = torch.ones(2, 8, dtype=torch.bool)
        hidden.scatter_(1, VISIBLE[True], False)
        return folder, lambda x: model(x.transpose(1, 2), hidden).logits
    noise = RESTORE.argsort(1).argsort(1).float()
    model.config.mask_ratio = 0.5
    model.vit.embeddings.config.mask_ratio = 0.5
    return folder, lambda x: model(x, noise=noise).logits[:, [0, 3]]


def by_mmpretrain(folder: Path, mae_table: bool) -> tuple[Path, Predict]:
    """Its own positions are MAE's with the halves of channels exchanged."""
    from mmpretrain.models.necks import MAEPretrainDecoder
    from mmpretrain.models.selfsup import MAEViT

    encoder = MAEViT(**{**MMPRETRAIN, 'mask_ratio': 0.5})
    decoder = MAEPretrainDecoder(
        num_patches=4,
        embed_dim=DIM,
        decoder_embed_dim=WIDE,
        decoder_depth=1,
        decoder_num_heads=2,
        norm_cfg=dict(type='LN', eps=1e-6),
    )
    encoder.init_weights()
    decoder.init_weights()
    randomized(encoder, std=0.2)
    randomized(decoder, std=0.2)
    for table in (encoder.pos_embed, decoder.decoder_pos_embed):
        if mae_table:
            width = table.shape[2]
            table.data[0, 1:] = position_table((1, 2, 2), width, video=False)
    states = dict(backbone=encoder.state_dict(), neck=decoder.state_dict())
    state = {
        f'{part}.{k}': v for part, x in states.items() for k, v in x.items()
    }
    path = folder / 'mmpretrain.pth'
    torch.save(dict(state_dict=state), path)
    encoder.random_masking = lambda x, _: (
        x[:, VISIBLE[False][0]],
        None,
        RESTORE,
    )
    return path, lambda x: decoder(encoder(x, True)[0], RESTORE)[:, [0, 3]]


CASES = {
    'mae': (False, partial(official, video=False)),
    'videomae': (True, partial(official, video=True)),
    'hf-vitmae': (False, partial(by_transformers, video=False)),
    'hf-videomae': (True, partial(by_transformers, video=True)),
    'mmpretrain': (False, partial(by_mmpretrain, mae_table=True)),
    'mmpretrain, its table': (False, partial(by_mmpretrain, mae_table=False)),
}


def one_area(video: bool, norm: str = '', **decoder: Any) -> dict[str, Any]:
    model = branch(video, key_bias=not video)
    (area,) = (area for area in model['areas'] if area['name'] != 'V1')
    area['decoder'].update(dict(key_bias=not video), **decoder)
    area['target']['norm'] = norm or area['target']['norm']
    return dict(model, areas=[area])


@torch.no_grad()
@pytest.mark.parametrize('name', CASES)
def test_a_branch_goes_on_where_they_stopped(name, tmp_path, log):
    video, write = CASES[name]
    torch.manual_seed(0)
    source, theirs = write(tmp_path)
    cfg = Config(dict(model=one_area(video)))
    model = init_model(cfg, str(source))
    x = picture(video)
    assert_same(predict(model, x, VISIBLE[video]), theirs(x))
    assert 'left out' not in '\n'.join(log)
    # In a file of ours, and back in a file of theirs, nothing is lost.
    config, own = tmp_path / 'config.py', tmp_path / 'own.pth'
    cfg.dump(config)
    convert_checkpoint(source, own, to='bimm', config=config)
    for key, value in torch.load(own)['state_dict'].items():
        assert torch.equal(value, model.state_dict()[key]), key
    form, _, table = name.partition(', ')
    back = tmp_path / ('back' if form.startswith('hf-') else 'back.pth')
    convert_checkpoint(own, back, to=form, decoder=True)
    if back.is_dir():  # in the names of the installed transformers
        import transformers

        told = json.loads((back / 'config.json').read_text())
        assert told['norm_pix_loss']
        kind = getattr(transformers, told['architectures'][0])
        again, info = kind.from_pretrained(back, output_loading_info=True)
        assert not any(info.values()), info
        again.save_pretrained(back)
    state = read_state_dict(source)
    written = read_state_dict(back)
    assert {k: x.shape for k, x in written.items()} == {
        k: x.shape for k, x in state.items()
    }
    for key, value in written.items():
        # Halves of its channels are exchanged.
        if not table:
            torch.testing.assert_close(value, state[key], msg=key)


@pytest.mark.parametrize(
    ('model', 'words'),
    [
        (one_area(False, depth=2), 'cover decoder: 12 of 31 .*blocks.1'),
        (one_area(False, decoder_dims=32), r'not fit decoder: .*\[1, 1, 16\]'),
        (
            one_area(False, norm='videomae'),
            r"one area only: it needs.*norm='mae'.*0 of the areas \(pixels\)",
        ),
        (branch(False), 'the config has 2 areas.*init_cfg.checkpoint'),
        (one_area(True), 'is an image encoder, and the config'),
    ],
)
def test_a_decoder_that_does_not_fit_is_refused(model, words, tmp_path):
    source, _ = official(tmp_path, video=False)
    with pytest.raises(ValueError, match=f'official.pth.*{words}') as error:
        init_model(Config(dict(model=model)), str(source))
    assert '\n' not in str(error.value)


LEARNED = 'set learned_positions=True of the backbone'


@pytest.mark.parametrize(
    ('build', 'words'),
    [
        (timm, LEARNED),
        (mae_st, LEARNED),
        (deepmim, 'no decoder as MAE or VideoMAE have one: leave out --dec'),
        (omnimae, 'not fit decoder: .* mask_token'),
        (localmim, 'decoder: 19 of 19 tensors are missing'),
    ],
)
def test_other_decoders_are_refused(build, words, tmp_path):
    form = build()
    path = tmp_path / 'x.pth'
    torch.save({'model': form.state}, path)
    cfg = Config(dict(model=one_area('num_frames' in form.options)))
    with pytest.raises(ValueError, match=words):
        init_model(cfg, str(path))


def test_parts_of_a_folder_must_be_whole(tmp_path):
    by_transformers(tmp_path, video=False)
    index = tmp_path / 'model.safetensors.index.json'
    parts = json.loads(index.read_text())['weight_map']
    assert len(set(parts.values())) > 1
    assert read_state_dict(tmp_path).keys() == parts.keys()
    lost = tmp_path / parts['decoder.mask_token']
    moved = lost.rename(tmp_path / 'elsewhere')
    with pytest.raises(FileNotFoundError, match=lost.name):
        read_state_dict(tmp_path)
    moved.rename(lost)
    for content, words in (
        (
            {'weight_map': {**parts, 'new': lost.name}},
            '1 of the .*such as new',
        ),
        ({'weight_map': {'a': '../a.safetensors'}}, 'in another folder'),
        ({'weight_map': ['a']}, 'does not name the parts'),
        ([], 'does not name the parts'),
    ):
        index.write_text(json.dumps(content))
        with pytest.raises(ValueError, match=words):
            read_state_dict(tmp_path)


def test_parts_of_processes_are_refused_with_the_remedy(tmp_path):
    folder = tmp_path / 'epoch_1'
    torch.distributed.checkpoint.save(
        {'model': mae().state}, checkpoint_id=folder, no_dist=True
    )
    with pytest.raises(ValueError, match=f'dcp_to_torch {folder} FILE.pth'):
        init_model(Config(dict(model=one_area(False))), str(folder))
    file = tmp_path / 'whole.pth'
    dcp_to_torch_save(folder, file)
    model = init_model(Config(dict(model=one_area(False))), str(file))
    assert predict(model, picture(False), VISIBLE[False]).isfinite().all()
