"""Losses of the baselines' configs equal mmpretrain's, weights converted."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import init_default_scope

from bimm_mm.models.checkpoints.branch import load_model
from bimm_mm.models.checkpoints.convert import to_bimm
from bimm_mm.models.layers.transformer import position_table
from bimm_mm.structures import ClipBatch, TokenIndices
from tests.restated import mmpretrain_hog

ROOT = Path(__file__).resolve().parents[2]
BASELINES = ROOT / 'configs' / 'baselines'
WIDTH = 48  # of the toy
ARCH = dict(
    embed_dims=WIDTH,
    num_layers=12,
    num_heads=4,
    feedforward_channels=4 * WIDTH,
)
L2 = dict(type='mmpretrain.PixelReconstructionLoss', criterion='L2')
MEAN = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)


def _mmpretrain_mae():
    from mmpretrain.models.selfsup import MAE

    mae = MAE(
        backbone=dict(
            type='mmpretrain.MAEViT',
            arch=ARCH,
            img_size=64,
            patch_size=16,
            mask_ratio=0.75,
        ),
        neck=dict(
            type='mmpretrain.MAEPretrainDecoder',
            num_patches=16,
            embed_dim=WIDTH,
            decoder_embed_dim=32,
            decoder_depth=2,
            decoder_num_heads=2,
        ),
        head=dict(type='mmpretrain.MAEPretrainHead', norm_pix=True, loss=L2),
        # Its default names no library, and depends on what ran before.
        data_preprocessor=dict(type='mmpretrain.SelfSupDataPreprocessor'),
    )
    mae.init_weights()
    # mmpretrain's tables tell the row first, MAE's own the column first.
    for table in (mae.backbone.pos_embed, mae.neck.decoder_pos_embed):
        width = table.shape[2]
        table.data[0, 1:] = position_table((1, 4, 4), width, video=False)
    return mae


def test_mae(toy_model):
    """Its loss and a gradient."""
    branch = toy_model(
        BASELINES / 'pretrain_mae_in1k.py',
        decoder_dims=32,
        depth=2,
        num_heads=2,
    )
    torch.manual_seed(0)
    mae = _mmpretrain_mae()
    load_model(branch, mae.state_dict(), source='mmpretrain')

    pixels = torch.rand(3, 3, 64, 64)
    images = (pixels - MEAN) / STD
    latent, masked, restore = mae.backbone(images)
    expected = mae.head.loss(mae.neck(latent, restore), images, masked)
    expected.backward()
    order = masked.argsort(dim=1, stable=True)
    assert masked.sum(1).tolist() == [12] * 3
    indices = TokenIndices(order[:, :4], order[:, 4:])
    branch.masking.forward = lambda *_, **__: indices
    clips = ClipBatch(images.unsqueeze(2), pixels.unsqueeze(2))
    loss = branch(clips)['loss_pixels']
    loss.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    torch.testing.assert_close(
        branch.backbone.blocks[0].mlp.fc1.weight.grad,
        mae.backbone.layers[0].ffn.layers[0][0].weight.grad,
        atol=1e-6,
        rtol=1e-4,
    )


def _mmpretrain_maskfeat():
    from mmpretrain.models.selfsup import MaskFeat

    init_default_scope('mmpretrain')
    model = MaskFeat(
        backbone=dict(
            type='mmpretrain.MaskFeatViT',
            arch=ARCH,
            img_size=64,
            patch_size=16,
        ),
        neck=dict(
            type='mmpretrain.LinearNeck',
            in_channels=WIDTH,
            out_channels=108,
            norm_cfg=None,
        ),
        head=dict(type='mmpretrain.MIMHead', loss=L2),
        target_generator=dict(
            type='mmpretrain.HOGGenerator',
            nbins=9,
            pool=8,
            gaussian_window=0,  # as its own code
        ),
    )
    model.init_weights()
    return model


def test_maskfeat(toy_model, monkeypatch):
    """With mmpretrain's position table and mask, and levels for its HOG."""
    torch.manual_seed(0)
    theirs = _mmpretrain_maskfeat()
    branch = toy_model(BASELINES / 'pretrain_maskfeat_in1k.py')
    state = theirs.backbone.state_dict()
    del state['pos_embed']  # trained
    state = to_bimm(state).state_dict
    state['mask_token'] = theirs.backbone.mask_token
    branch.backbone.load_state_dict(state)
    table = theirs.backbone.pos_embed.data.clone()
    table[:, 0] = 0  # the class token's, which ours has in the token itself
    theirs.backbone.pos_embed.data = table
    monkeypatch.setattr(branch.backbone, '_positions', lambda *_: table[0, 1:])
    # Values of a token: theirs run over color and bin, then cell.
    decoder = branch.head.areas['hog'].decoder
    neck = theirs.neck.fc
    order = torch.arange(108).view(27, 4).T.flatten()
    decoder.pred.load_state_dict(
        dict(weight=neck.weight[order], bias=neck.bias[order])
    )

    pixels = torch.rand(2, 3, 64, 64).mul(255).round() / 255
    images = (pixels - MEAN) / STD
    noise = torch.rand(2, 16)
    mask = noise < noise.sort(1).values[:, 6:7]  # int(0.4 x 16) hidden
    latent = theirs.backbone(images, mask)
    prediction = theirs.neck((latent.flatten(0, 1),))[0].unflatten(0, (2, -1))
    hog = mmpretrain_hog(pixels, window=0)  # (2, 27, 8, 8)
    hog = F.unfold(hog, 2, stride=2).transpose(1, 2)
    expected = theirs.head.loss(prediction[:, 1:], hog, mask)

    positions = mask.long().argsort(dim=1, stable=True)
    indices = TokenIndices(positions[:, :10], positions[:, 10:])
    assert branch.masking(2, (1, 4, 4)).hidden.shape == indices.hidden.shape
    branch.masking.forward = lambda *_, **__: indices
    clips = ClipBatch(images.unsqueeze(2), pixels.unsqueeze(2))
    loss = branch(clips)['loss_hog']
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
