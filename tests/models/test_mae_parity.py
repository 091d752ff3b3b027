"""An image branch with one area is mmpretrain's MAE."""

import pytest
import torch

from bimm_mm.models import MaskedBranch
from bimm_mm.models.checkpoints.convert import to_bimm
from bimm_mm.models.layers.transformer import position_table
from bimm_mm.structures import ClipBatch, TokenIndices

WIDTH, DEPTH, SIDE = 48, 3, 64
MEAN = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)


def _mmpretrain_mae(norm_pix):
    from mmpretrain.models.selfsup import MAE

    arch = dict(
        embed_dims=WIDTH,
        num_layers=DEPTH,
        num_heads=4,
        feedforward_channels=4 * WIDTH,
    )
    mae = MAE(
        backbone=dict(
            type='mmpretrain.MAEViT',
            arch=arch,
            img_size=SIDE,
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
        head=dict(
            type='mmpretrain.MAEPretrainHead',
            norm_pix=norm_pix,
            loss=dict(
                type='mmpretrain.PixelReconstructionLoss', criterion='L2'
            ),
        ),
    )
    mae.init_weights()
    # mmpretrain's tables tell the row first, MAE's own the column first.
    for table in (mae.backbone.pos_embed, mae.neck.decoder_pos_embed):
        width = table.shape[2]
        table.data[0, 1:] = position_table((1, 4, 4), width, video=False)
    return mae


def _branch(norm):
    return MaskedBranch(
        dict(
            type='bimm_mm.BIMMVisionTransformer',
            arch=dict(embed_dims=WIDTH, depth=DEPTH, num_heads=4),
            img_size=SIDE,
        ),
        masking=dict(type='bimm_mm.RandomMasking', ratio=0.75),
        areas=[
            dict(
                name='V4',
                after_block=DEPTH,
                decoder=dict(
                    type='bimm_mm.TransformerDecoder',
                    depth=2,
                    decoder_dims=32,
                    num_heads=2,
                ),
                target=dict(type='bimm_mm.PixelTarget', norm=norm),
            )
        ],
    )


def _decoder_state(neck):
    """mmpretrain's decoder under our names."""
    names = {
        'decoder_embed': 'embed',
        'decoder_pred': 'pred',
        'decoder_blocks': 'blocks',
        'ln1': 'norm1',
        'ln2': 'norm2',
        'ffn.layers.0.0': 'mlp.fc1',
        'ffn.layers.1': 'mlp.fc2',
    }
    state = {}
    for key, value in neck.state_dict().items():
        if key.startswith('ln1.'):  # the decoder's final norm
            key = key.replace('ln1', 'norm')
        for theirs, ours in names.items():
            key = key.replace(theirs, ours)
        if key != 'decoder_pos_embed':
            state[key] = value
    return state


@pytest.mark.parametrize(
    ('norm', 'norm_pix'), [('mae', True)], ids=['normalized pixels']
)
def test_loss_and_gradient_equal_mmpretrain(norm, norm_pix):
    torch.manual_seed(0)
    mae, branch = _mmpretrain_mae(norm_pix), _branch(norm)
    branch.backbone.load_state_dict(to_bimm(mae.backbone.state_dict())[0])
    decoder = branch.head.areas['V4'].decoder
    decoder.load_state_dict(_decoder_state(mae.neck))

    pixels = torch.rand(3, 3, SIDE, SIDE)
    images = (pixels - MEAN) / STD
    latent, masked, restore = mae.backbone(images)
    expected = mae.head.loss(mae.neck(latent, restore), images, masked)
    expected.backward()

    order = masked.argsort(dim=1, stable=True)
    indices = TokenIndices(order[:, :4], order[:, 4:])
    branch.masking.forward = lambda *_, **__: indices
    loss = branch(ClipBatch(images.unsqueeze(2), pixels.unsqueeze(2)))[
        'loss_V4'
    ]
    loss.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    torch.testing.assert_close(
        branch.backbone.blocks[0].mlp.fc1.weight.grad,
        mae.backbone.layers[0].ffn.layers[0][0].weight.grad,
        atol=1e-6,
        rtol=1e-4,
    )
