"""MAM2's configs: what the abstract fixes, finetuning and overfitting."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config

from bimm_mm.models import MaskedBranch
from bimm_mm.registry import MODELS
from bimm_mm.structures import ClipBatch
from tests.golden import golden
from tests.toy_configs import TOKENIZER

pytestmark = pytest.mark.usefixtures('one_thread')

FOLDER = Path(__file__).resolve().parents[2] / 'configs' / 'mam2'
K400 = FOLDER / 'pretrain_mam2_k400.py'
FRAMES, SIDE, WIDTH = 8, 64, 96  # of overfitting


def test_what_the_abstract_says():
    cfg = Config.fromfile(K400)
    assert cfg.train_cfg.max_epochs == 400
    with torch.device('meta'):
        model = MODELS.build(dict(cfg.model, data_preprocessor=None))
    assert type(model.regressor).__name__ == 'LatentRegressor'
    appearance, motion = model.head.areas.values()
    assert appearance.target.tokenizer.num_codes == 1024
    assert appearance.decoder.pred.out_features == 1024  # one code per token
    assert motion.decoder.pred.out_features == 2 * 16 * 16 * 3
    assert appearance.decoder is not motion.decoder
    encoder = sum(p.numel() for p in model.backbone.parameters())
    # VideoMAE's, key biases and a class token.
    assert encoder == 86_227_200 + 12 * 768 + 768


def test_missing_tokenizer_is_told_before_training(toy_model):
    model = toy_model(K400)
    target = model.head.areas['appearance'].target
    target.tokenizer.checkpoint = 'not/there.ckpt'
    with pytest.raises(FileNotFoundError, match=r'there.ckpt: get a VQGAN'):
        model.init_weights()


def spread_codes(tokenizer: torch.nn.Module, clip: ClipBatch) -> None:
    """A random codebook has few codes near the latents: take some of them."""
    frames = clip.pixels.transpose(1, 2).flatten(0, 1)
    with torch.no_grad():
        latents = tokenizer.quant_conv(tokenizer.encoder(2 * frames - 1))
    latents = latents.movedim(1, -1).flatten(0, 2)
    codebook = tokenizer.quantize['embedding'].weight
    codebook.copy_(latents[torch.randperm(len(latents))[: len(codebook)]])


def small_mam2() -> MaskedBranch:
    """MAM2 in its own form, of two blocks."""
    model = Config.fromfile(FOLDER / 'pretrain_mam2_k400.py').model
    model.backbone.update(
        arch=dict(embed_dims=WIDTH, depth=2, num_heads=4),
        img_size=SIDE,
        num_frames=FRAMES,
    )
    model.masking.ratio = 0.75
    model.regressor.update(depth=1, num_heads=4)
    for area in model.areas:
        area.after_block = 2
        area.decoder.update(depth=1, decoder_dims=WIDTH, num_heads=4)
    model.areas[0].target.tokenizer.update(TOKENIZER)
    return MODELS.build(dict(model, data_preprocessor=None))


@torch.no_grad()
def test_losses_are_those_of_codes_and_of_motion():
    """Cross entropy of the nearest codes, squared error of differences."""
    clip = golden.clips(FRAMES)
    torch.manual_seed(0)
    model = small_mam2()
    tokenizer = model.head.areas['appearance'].target.tokenizer
    spread_codes(tokenizer, clip)
    torch.manual_seed(1)
    outputs = model.forward_areas(clip)
    torch.manual_seed(1)
    losses = model(clip)
    # One code per token: of the first frame of two.
    frames = clip.pixels[:, :, ::2].transpose(1, 2).flatten(0, 1)
    latents = tokenizer.quant_conv(tokenizer.encoder(2 * frames - 1))
    latents = latents.movedim(1, -1).flatten(1, 2)
    codebook = tokenizer.quantize['embedding'].weight
    codes = torch.cdist(latents, codebook[None]).argmin(-1)
    codes = codes.reshape(len(clip.pixels), -1)
    # Differences of frames, the last one twice, with one deviation per clip.
    steps = clip.pixels.diff(dim=2)
    steps = torch.cat([steps, steps[:, :, -1:]], 2)
    steps = steps / steps.flatten(1).std(1).view(-1, 1, 1, 1, 1)
    b, c, t, h, w = steps.shape
    cut = steps.view(b, c, t // 2, 2, h // 16, 16, w // 16, 16)
    motion = cut.permute(0, 2, 4, 6, 3, 5, 7, 1).flatten(4).flatten(1, 3)
    first, second = outputs['appearance'], outputs['motion']
    hidden = first.indices.hidden
    assert hidden.shape[1] == 0.75 * codes.shape[1]
    expected = F.cross_entropy(
        first.prediction.flatten(0, 1), codes.gather(1, hidden).flatten()
    )
    assert losses['loss_appearance'].item() == pytest.approx(
        expected.item(), rel=1e-4
    )
    rows = hidden.unsqueeze(2).expand(-1, -1, motion.shape[2])
    expected = F.mse_loss(second.prediction, motion.gather(1, rows))
    assert losses['loss_motion'].item() == pytest.approx(
        expected.item(), rel=1e-4
    )
