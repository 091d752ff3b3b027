"""Stage 2 starts from stage 1, fully and with a report."""

from pathlib import Path

import pytest
import torch

from bimm_mm.models import BIMM, MaskedBranch
from bimm_mm.models.checkpoints.load import inflate


@pytest.fixture
def checkpoint(ventral_cfg, tmp_path):
    """A checkpoint of stage 1 as MMEngine writes it."""
    torch.manual_seed(5)
    branch = MaskedBranch(**ventral_cfg)
    path = tmp_path / 'ventral.pth'
    torch.save(dict(meta=dict(epoch=1), state_dict=branch.state_dict()), path)
    return branch, str(path)


def _build(ventral_cfg, dorsal_cfg, path, **options):
    torch.manual_seed(6)
    model = BIMM(
        ventral_cfg, dorsal=dorsal_cfg, ventral_checkpoint=path, **options
    )
    model.init_weights()
    return model


def test_both_branches_start_from_it(checkpoint, ventral_cfg, dorsal_cfg):
    branch, path = checkpoint
    model = _build(ventral_cfg, dorsal_cfg, path, share_blocks=2)
    stage1 = branch.state_dict()
    for key, value in stage1.items():
        assert torch.equal(model.ventral.state_dict()[key], value), key
    dorsal = model.dorsal.state_dict()
    for key, value in stage1.items():
        if key.startswith(('backbone.blocks', 'backbone.norm')) or (
            key == 'backbone.cls_token'
        ):
            assert torch.equal(dorsal[key], value), key
    head = 'head.areas.V1.decoder.pred.weight'
    assert not torch.equal(dorsal[head], stage1[head])


def test_counts_are_reported(checkpoint, ventral_cfg, dorsal_cfg, monkeypatch):
    lines = []
    monkeypatch.setattr(
        'bimm_mm.models.checkpoints.load.print_log',
        lambda text, *_: lines.append(text),
    )
    _build(ventral_cfg, dorsal_cfg, checkpoint[1])
    # 4 blocks of 12 tensors, norm 2, class token 1, patch embedding 2.
    assert any('ventral encoder: 53 of 53' in line for line in lines)
    dorsal = next(line for line in lines if line.startswith('dorsal'))
    assert 'dorsal encoder: 51 of 53' in dorsal
    assert 'patch_embed.proj.weight' in dorsal


def test_inflated_embedding_answers_to_still_clips_as_to_the_image(
    checkpoint, ventral_cfg, dorsal_cfg
):
    model = _build(
        ventral_cfg, dorsal_cfg, checkpoint[1], inflate_patch_embed=True
    )
    image = torch.rand(1, 3, 1, 64, 64)
    still = image.expand(-1, -1, 2, -1, -1)
    torch.testing.assert_close(
        model.dorsal.backbone.patch_embed(still),
        model.ventral.backbone.patch_embed(image),
    )


def test_inflate_divides_by_the_tubelet():
    weight = torch.rand(5, 3, 4, 4)
    assert inflate(weight, 2).shape == (5, 3, 2, 4, 4)
    torch.testing.assert_close(inflate(weight, 2).sum(2), weight)


def test_joint_checkpoint_serves_as_well(
    checkpoint, ventral_cfg, dorsal_cfg, tmp_path
):
    model = _build(ventral_cfg, dorsal_cfg, checkpoint[1])
    path = tmp_path / 'joint.pth'
    torch.save(dict(state_dict=model.state_dict()), path)
    again = _build(ventral_cfg, dorsal_cfg, str(path))
    key = 'backbone.patch_embed.proj.weight'
    assert torch.equal(
        again.ventral.state_dict()[key], model.ventral.state_dict()[key]
    )


def test_missing_file_is_named(ventral_cfg, dorsal_cfg):
    with pytest.raises(
        FileNotFoundError,
        match=r'no ventral checkpoint at gone\.pth: run stage 1',
    ):
        _build(ventral_cfg, dorsal_cfg, 'gone.pth')


def test_damaged_file_is_named(checkpoint, ventral_cfg, dorsal_cfg, tmp_path):
    path = tmp_path / 'cut.pth'
    path.write_bytes(Path(checkpoint[1]).read_bytes()[:1000])
    with pytest.raises(ValueError, match=r'cut\.pth cannot be read'):
        _build(ventral_cfg, dorsal_cfg, str(path))


def test_another_width_is_refused(checkpoint, ventral_cfg, dorsal_cfg):
    for cfg in (ventral_cfg, dorsal_cfg):
        cfg['backbone']['arch'] = dict(embed_dims=96, depth=4, num_heads=4)
    with pytest.raises(ValueError, match=r'48.* there and .*96.* here'):
        _build(ventral_cfg, dorsal_cfg, checkpoint[1])


def test_an_encoder_not_fully_covered_is_refused(
    checkpoint, ventral_cfg, dorsal_cfg, tmp_path
):
    state = {
        key: value
        for key, value in checkpoint[0].state_dict().items()
        if not key.startswith('backbone.blocks.3.')
    }
    path = tmp_path / 'short.pth'
    torch.save(state, path)
    with pytest.raises(ValueError, match=r'12 of 53 .*blocks\.3\.'):
        _build(ventral_cfg, dorsal_cfg, str(path))
