"""MAM2's configs: what the abstract fixes, toy runs and overfitting."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from pathlib import Path

import decord
import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

from bimm_mm.registry import MODELS
from bimm_mm.structures import ClipBatch

pytestmark = pytest.mark.usefixtures('one_thread')

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / 'configs' / 'mam2'
FRAMES, SIDE, WIDTH = 8, 64, 96
STEPS = 200  # of overfitting
ARCH = dict(embed_dims=WIDTH, depth=2, num_heads=4)
TOKENIZER = dict(
    checkpoint=None,
    dtype='float32',
    ch=32,
    ch_mult=(1, 1, 1, 1, 1),
    num_res_blocks=1,
    z_channels=8,
    code_dims=8,
    num_codes=32,
)


def steps_of(pipeline: list[dict]) -> Iterator[dict]:
    """All transforms, nested ones included."""
    for step in pipeline:
        yield step
        yield from steps_of(step.get('transforms', []))


def shrink_pipeline(pipeline: list[dict]) -> None:
    for step in steps_of(pipeline):
        if step['type'] == 'SampleFrames':
            step.update(clip_len=FRAMES)
        for key in ('size', 'input_size', 'scale'):
            if step.get(key) == 224:
                step[key] = SIDE
            elif step.get(key) == (224, 224):
                step[key] = (SIDE, SIDE)


def shrink_model(cfg: Config) -> None:
    """MAM2 in its own form, small."""
    cfg.model.backbone.update(arch=ARCH, img_size=SIDE, num_frames=FRAMES)
    cfg.model.masking.ratio = 0.75
    cfg.model.regressor.update(depth=1, num_heads=4)
    for area in cfg.model.areas:
        area.after_block = 2
        area.decoder.update(depth=1, decoder_dims=WIDTH, num_heads=4)
    cfg.model.areas[0].target.tokenizer.update(TOKENIZER)


@pytest.fixture
def toy(data_root, tmp_path) -> Callable[[str], Config]:
    """A pretraining config at toy size, over four real clips."""
    lines = (data_root / 'pretrain_videos.txt').read_text().splitlines()
    listed = tmp_path / 'list.txt'
    listed.write_text('\n'.join(lines[:40:10]) + '\n')

    def load(name: str) -> Config:
        cfg = Config.fromfile(FOLDER / f'pretrain_mam2_{name}.py')
        init_default_scope(cfg.default_scope)
        shrink_model(cfg)
        dataset = cfg.train_dataloader.dataset.dataset
        dataset.ann_file = str(listed)
        dataset.data_prefix.video = str(data_root)
        shrink_pipeline(dataset.pipeline)
        return cfg

    return load


def two_steps(cfg: Config, model: torch.nn.Module) -> list[dict]:
    loader = cfg.train_dataloader
    loader.update(batch_size=2, num_workers=0, persistent_workers=False)
    optim = dict(cfg.optim_wrapper, type='OptimWrapper')
    optim.pop('dtype', None)
    wrapper = build_optim_wrapper(model, optim)
    batches = iter(Runner.build_dataloader(loader, seed=0))
    model.train()
    logs = [model.train_step(next(batches), wrapper) for _ in range(2)]
    assert all(log['loss'].isfinite() for log in logs)
    return logs


def test_what_the_abstract_says():
    cfg = Config.fromfile(FOLDER / 'pretrain_mam2_k400.py')
    assert cfg.train_cfg.max_epochs == 400
    with torch.device('meta'):
        model = MODELS.build(dict(cfg.model, data_preprocessor=None))
    assert type(model.regressor).__name__ == 'LatentRegressor'
    appearance, motion = model.head.areas.values()
    assert appearance.target.tokenizer.num_codes == 1024
    assert appearance.decoder.out_channels == 1024  # one code per token
    assert motion.decoder.out_channels == 2 * 16 * 16 * 3
    assert appearance.decoder is not motion.decoder
    encoder = sum(p.numel() for p in model.backbone.parameters())
    # VideoMAE's, key biases and a class token.
    assert encoder == 86_227_200 + 12 * 768 + 768


def test_two_steps_from_real_clips(toy):
    cfg = toy('ucf101')
    cfg.model.data_preprocessor = cfg.data_preprocessor
    model = MODELS.build(cfg.model)
    model.init_weights()
    logs = two_steps(cfg, model)
    assert set(logs[0]) == {
        'loss',
        'loss_appearance',
        'loss_motion',
        'appearance/accuracy',
    }
    total = logs[0]['loss_appearance'] + logs[0]['loss_motion']
    torch.testing.assert_close(logs[0]['loss'], total)


@pytest.mark.parametrize('name', ['ssv2', 'hmdb51'])
def test_finetuning_takes_the_encoder_and_trains(
    toy, name, data_root, tmp_path
):
    cfg = Config.fromfile(FOLDER / f'finetune_mam2_{name}.py')
    init_cfg = cfg.model.backbone.init_cfg
    stage, file = Path(init_cfg.checkpoint).parts[-2:]
    stem = stage.removeprefix('pretrain_mam2_')
    first = toy(stem)
    assert file == f'epoch_{first.train_cfg.max_epochs}.pth'
    pretrained = MODELS.build(dict(first.model, data_preprocessor=None))
    checkpoint = tmp_path / file
    torch.save({'state_dict': pretrained.state_dict()}, checkpoint)

    importlib.import_module('mmaction.models')
    init_default_scope(cfg.default_scope)
    init_cfg.checkpoint = str(checkpoint)
    cfg.model.backbone.update(arch=ARCH, img_size=SIDE, num_frames=FRAMES)
    cfg.model.cls_head.in_channels = WIDTH
    model = MODELS.build(cfg.model)
    model.init_weights()
    for key, value in pretrained.backbone.state_dict().items():
        assert torch.equal(model.backbone.state_dict()[key], value), key
    dataset = cfg.train_dataloader.dataset.dataset
    dataset.ann_file = first.train_dataloader.dataset.dataset.ann_file
    dataset.data_prefix.video = str(data_root)
    shrink_pipeline(dataset.pipeline)
    two_steps(cfg, model)


def test_the_tokenizer_is_no_part_of_the_model(toy):
    model = MODELS.build(dict(toy('k400').model, data_preprocessor=None))
    tokenizer = model.head.areas['appearance'].target.tokenizer
    own = {id(parameter) for parameter in tokenizer.parameters()}
    assert own and own.isdisjoint(id(p) for p in model.parameters())
    names = {key.split('.')[-2] for key in tokenizer.state_dict()}
    assert 'quant_conv' in names
    assert not [key for key in model.state_dict() if 'quant_conv' in key]


def test_missing_tokenizer_is_told_before_training(toy):
    cfg = toy('k400')
    tokenizer = cfg.model.areas[0].target.tokenizer
    tokenizer.checkpoint = 'not/there.ckpt'
    model = MODELS.build(dict(cfg.model, data_preprocessor=None))
    with pytest.raises(FileNotFoundError, match=r'VQGAN.*not/there.ckpt'):
        model.init_weights()


def eight_clips(data_root: Path) -> ClipBatch:
    """Eight frames, evenly spaced, of eight real videos."""
    lines = (data_root / 'pretrain_videos.txt').read_text().splitlines()
    clips = []
    for line in lines[: 8 * (len(lines) // 8) : len(lines) // 8]:
        path = str(data_root / line.split()[0])
        video = decord.VideoReader(path, width=SIDE, height=SIDE)
        frames = [index * len(video) // FRAMES for index in range(FRAMES)]
        clips.append(torch.from_numpy(video.get_batch(frames).asnumpy()))
    pixels = torch.stack(clips).permute(0, 4, 1, 2, 3).float() / 255
    return ClipBatch((pixels - 0.45) / 0.225, pixels)


def spread_codes(tokenizer: torch.nn.Module, clip: ClipBatch) -> None:
    """A random codebook has few codes near the latents: take some of them."""
    frames = clip.pixels.transpose(1, 2).flatten(0, 1)
    with torch.no_grad():
        latents = tokenizer.quant_conv(tokenizer.encoder(2 * frames - 1))
    latents = latents.movedim(1, -1).flatten(0, 2)
    codebook = tokenizer.quantize['embedding'].weight
    codebook.copy_(latents[torch.randperm(len(latents))[: len(codebook)]])


@pytest.mark.slow
def test_overfits_eight_real_clips(toy, data_root):
    """Both losses fall, more than half of the codes are right.

    It takes eleven seconds on one core of its own.
    """
    clip = eight_clips(data_root)
    assert len(clip.inputs) == 8
    torch.manual_seed(0)
    model = MODELS.build(dict(toy('k400').model, data_preprocessor=None))
    target = model.head.areas['appearance'].target
    spread_codes(target.tokenizer, clip)
    codes = target(clip, model.backbone.patch)
    most = codes.flatten().bincount().max() / codes.numel()
    assert most < 0.25, 'always the same code would do'
    # The same clips again and again: their codes are worked out once.
    target.raw = lambda *_: codes
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, STEPS)
    logs = []
    for _ in range(STEPS):
        losses = model(clip)
        optimizer.zero_grad()
        sum(x for key, x in losses.items() if 'loss' in key).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        logs.append({key: x.item() for key, x in losses.items()})

    def mean(key: str, part: slice) -> float:
        values = [log[key] for log in logs[part]]
        return sum(values) / len(values)

    start, end = slice(0, 10), slice(-10, None)
    assert mean('loss_appearance', end) < 0.2 * mean('loss_appearance', start)
    assert mean('loss_motion', start) > 1  # that of predicting the mean
    assert mean('loss_motion', end) < 0.85
    assert mean('appearance/accuracy', start) < 0.2
    assert mean('appearance/accuracy', end) > 0.5
