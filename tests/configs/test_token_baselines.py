"""SimMIM and BeiT: their code's losses, restated; encoders with mask tokens.

As in ``test_baselines.py``, weights are taken by name and nothing else.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmpretrain.models.selfsup.cae import DALLEEncoder

from bimm_mm.structures import ClipBatch
from tests.configs.test_baselines import BASELINES, HEADS, MEAN, STD
from tests.restated import block, image_table, layer_norm, linear, randomized


@pytest.fixture
def branch(toy_model, request):
    """The toy of a config, its pictures and its mask (B, 4, 4)."""
    branch = randomized(
        toy_model(BASELINES / f'pretrain_{request.param}_in1k.py')
    )
    pixels = torch.rand(2, 3, 1, 64, 64)
    clips = ClipBatch((pixels - MEAN) / STD, pixels)
    torch.manual_seed(3)
    (loss,) = (v for k, v in branch(clips).items() if k.startswith('loss'))
    torch.manual_seed(3)
    hidden = torch.zeros(2, 16, dtype=torch.bool)
    hidden.scatter_(1, branch.masking(2, (1, 4, 4)).hidden, True)
    return branch, clips, hidden, loss


def _predict(state, images, hidden, name):
    """Mask tokens in place of patches, a linear layer on all, (B, 16, Q)."""
    proj = 'backbone.patch_embed.proj'
    x = F.conv2d(
        images, state[f'{proj}.weight'], state[f'{proj}.bias'], stride=16
    )
    x = x.flatten(2).transpose(1, 2)
    w = hidden.unsqueeze(2).float()
    x = x * (1 - w) + state['backbone.mask_token'] * w
    x = x + image_table((1, 4, 4), x.shape[-1])
    x = torch.cat([state['backbone.cls_token'].expand(2, -1, -1), x], 1)
    for index in range(12):
        x = block(state, f'backbone.blocks.{index}', x, HEADS)
    x = layer_norm(state, 'backbone.norm', x)[:, 1:]
    return linear(state, f'head.areas.{name}.decoder.pred', x)


@pytest.mark.parametrize('branch', ['simmim'], indirect=True)
def test_simmim(branch):
    """Absolute differences of pictures, at hidden squares of 32 pixels."""
    branch, clips, hidden, loss = branch
    squares = hidden.view(2, 2, 2, 2, 2).transpose(2, 3).flatten(3)
    assert torch.equal(squares.amin(3), squares.amax(3))
    assert hidden.sum(1).tolist() == [8, 8]
    images = clips.inputs[:, :, 0]
    state = dict(branch.named_parameters())
    tokens = _predict(state, images, hidden, 'pixels')
    rebuilt = tokens.view(2, 4, 4, 16, 16, 3).permute(0, 5, 1, 3, 2, 4)
    rebuilt = rebuilt.reshape(2, 3, 64, 64)
    mask = hidden.view(2, 1, 4, 4).float()
    mask = mask.repeat_interleave(16, 2).repeat_interleave(16, 3)
    expected = (images - rebuilt).abs() * mask
    expected = expected.sum() / (mask.sum() + 1e-5) / 3
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4)


@pytest.mark.parametrize('branch', ['beit'], indirect=True)
def test_beit(branch):
    """Cross-entropy of DALL-E's codes of the picture at half the size."""
    branch, clips, hidden, loss = branch
    dalle = DALLEEncoder(n_hid=8, vocab_size=32)
    tokenizer = branch.areas['codes'].target.tokenizer
    dalle.load_state_dict(tokenizer.encoder.state_dict())
    half = F.interpolate(
        clips.pixels[:, :, 0], (32, 32), mode='bicubic', antialias=True
    )
    # DALL-E's map_pixels: (1 - 2 x 0.1) x + 0.1.
    codes = dalle(0.8 * half.clamp(0, 1) + 0.1).argmax(1)
    assert len(codes.unique()) > 2
    state = dict(branch.named_parameters())
    scores = _predict(state, clips.inputs[:, :, 0], hidden, 'codes')
    labels = codes.flatten(1)[hidden]
    expected = F.cross_entropy(scores[hidden], labels)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4)


@pytest.mark.parametrize(('name', 'clip'), [('simmim', 5.0), ('beit', 3.0)])
def test_published_settings(name, clip):
    """Batches and rates: test_baseline_recipes.py."""
    cfg = Config.fromfile(BASELINES / f'pretrain_{name}_in1k.py')
    assert cfg.param_scheduler[0].end == 10
    assert cfg.optim_wrapper.clip_grad.max_norm == clip
    assert (cfg.train_cfg.max_epochs, cfg.model.backbone.drop_path_rate) == (
        800,
        0.1,
    )
