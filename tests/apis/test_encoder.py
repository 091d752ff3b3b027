"""Encoders of any source, and the features of files that they give."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS, MODELS, init_default_scope
from PIL import Image

import bimm_mm
from bimm_mm.apis import models
from bimm_mm.apis.feature_file import read_features
from bimm_mm.utils.files import sha256_of_file
from tests.apis.conftest import (
    ARCH,
    DOWNSTREAM,
    change,
    clip_files,
    write_checkpoint,
)
from tests.official_forms import sizes_of_transformers


def test_a_run_gives_the_branch_and_what_its_config_says(run, encoder):
    state = torch.load(run / 'epoch_1.pth')['state_dict']
    assert (encoder.size, encoder.frame_interval) == ((4, 32, 32), 3)
    assert encoder.std.flatten().tolist() == [60.0] * 3
    ventral = bimm_mm.load_encoder(run, branch='ventral', device='cpu')
    assert ventral.size == (1, 32, 32)
    for name, one in (('dorsal', encoder), ('ventral', ventral)):
        assert not one.training
        for key, value in one.state_dict().items():
            assert value.equal(state[f'{name}.{key}'])


def test_a_config_beside_serves_and_a_lost_one_is_inferred(
    run, encoder, tmp_path, monkeypatch
):
    content = torch.load(run / 'epoch_1.pth')
    text = content['meta'].pop('cfg')
    torch.save(content, tmp_path / 'a.pth')
    with pytest.raises(ValueError, match=r'2 blocks of width 24 .* heads'):
        bimm_mm.load_encoder(tmp_path / 'a.pth')
    monkeypatch.setitem(
        bimm_mm.models.backbones.vit.ARCHS,
        'toy',
        bimm_mm.models.backbones.vit.Arch(24, 2, 2),
    )
    x = torch.rand(1, 3, 4, 32, 32)
    loaded = bimm_mm.load_encoder(tmp_path / 'a.pth', device='cpu')
    assert loaded.size == (16, 224, 224)  # which the weights do not tell
    assert loaded(x).equal(encoder(x))
    (tmp_path / 'config.py').write_text(text)
    loaded = bimm_mm.load_encoder(tmp_path / 'a.pth', device='cpu')
    assert loaded.size == (4, 32, 32)
    for other in (
        b'import os\nos.mkdir("x")',
        b'# \xe9',
        b'x = 1' + b' + 1' * 9999,
    ):
        (tmp_path / 'config.py').write_bytes(other)
        assert bimm_mm.load_encoder(tmp_path / 'a.pth').size[0] == 16


def test_a_folder_of_transformers(folder, tmp_path, bimm):
    from transformers import VideoMAEConfig, VideoMAEModel

    torch.manual_seed(0)
    sizes = sizes_of_transformers(num_frames=4, use_mean_pooling=False)
    config = VideoMAEConfig(**sizes)
    theirs = VideoMAEModel(config).eval()
    theirs.save_pretrained(tmp_path)
    (tmp_path / 'preprocessor_config.json').write_text(
        '{"image_mean": [0.5, 0.5, 0.5], "image_std": [0.2, 0.2, 0.2]}'
    )
    ours = bimm_mm.load_encoder(tmp_path, device='cpu')
    assert ours.size == (4, 32, 32)
    assert ours.mean.flatten().tolist() == [127.5] * 3
    clip = np.random.default_rng(0).integers(256, size=(4, 32, 32, 3))
    clip = clip.astype(np.uint8)
    tokens = ours.embed(clip, level='token')
    x = (torch.from_numpy(clip) / 255 - 0.5) / 0.2
    with torch.no_grad():
        expected = theirs(x.permute(0, 3, 1, 2)[None]).last_hidden_state[0]
    torch.testing.assert_close(tokens, expected, atol=1e-5, rtol=0)
    for name, how in (
        ('config', {'num_attention_heads': '4'}),
        ('config', {'image_size': 8}),
        ('config', {'num_frames': None}),
        ('preprocessor_config', {'image_mean': [0.5]}),
        ('preprocessor_config', {'image_mean': [127, 127, 127]}),
        ('preprocessor_config', {'image_std': None}),
    ):
        file = tmp_path / f'{name}.json'
        text = file.read_text()
        change(file, **how)
        with pytest.raises(ValueError, match=f'{tmp_path}: '):
            bimm_mm.load_encoder(tmp_path)
        file.write_text(text)
    out = tmp_path / 'a.npz'
    bimm('embed', tmp_path, clip_files(folder)[0], '--out', out)
    meta = read_features(out).meta
    assert len(meta['checkpoint_sha256']) == 64 and meta['pool'] == 'avg'


def test_features_are_those_of_the_backbone(encoder, folder):
    files = clip_files(folder)[:3]
    x = torch.cat([bimm_mm.load_clip(file, encoder) for file in files])
    with torch.no_grad():
        tokens = encoder.backbone.encode(x, None, [1, 2])
        torch.testing.assert_close(encoder(x), tokens[2][:, 0])
    for many in (encoder.embed(files), encoder.embed(files, batch_size=2)):
        torch.testing.assert_close(many, tokens[2][:, 0])
    torch.testing.assert_close(encoder.embed(Path(files[1])), many[1])
    found = encoder.embed(files, level='token', blocks=[1, 2])
    torch.testing.assert_close(found, torch.stack([tokens[1], tokens[2]]))
    one = encoder.embed(files[0], blocks=[1])
    torch.testing.assert_close(one, tokens[1][:1, 0])
    assert not found.requires_grad
    every = encoder.embed(folder)
    assert every.shape == (5, 24)
    torch.testing.assert_close(every[:3], many)
    x.requires_grad_()
    encoder(x).sum().backward()  # plain PyTorch
    assert x.grad.abs().sum() > 0


def test_pictures_of_every_kind_are_one_image(run, tmp_path):
    encoder = bimm_mm.load_encoder(run, branch='ventral', device='cpu')
    rgb = np.random.default_rng(0).integers(256, size=(50, 40, 3))
    rgb = rgb.astype(np.uint8)
    file = str(tmp_path / 'a.png')
    cv2.imwrite(file, rgb[..., ::-1])
    photo, tensor = Image.fromarray(rgb), torch.from_numpy(rgb)
    rows = encoder.embed([file, photo, rgb, tensor])
    assert rows.shape == (4, 24) and (rows == rows[0]).all()
    video = np.random.default_rng(1).integers(256, size=(16, 32, 32, 3))
    video = torch.from_numpy(video.astype(np.uint8))
    x = encoder.normalize(video.permute(0, 3, 1, 2).unsqueeze(2))
    with torch.no_grad():
        expected = encoder(x).mean(0)
    torch.testing.assert_close(encoder.embed(video), expected)


def validation(name: str, **parts) -> Config:
    """A downstream config whose validation is of these files."""
    cfg = Config.fromfile(DOWNSTREAM / name)
    cfg.val_dataloader.dataset.update(parts)
    return cfg


def inputs(cfg: Config, preprocessor: dict) -> torch.Tensor:
    """What the library's own dataset and preprocessor give the model."""
    init_default_scope(cfg.default_scope)
    dataset = DATASETS.build(cfg.val_dataloader.dataset)
    batch = pseudo_collate([dataset[i] for i in range(len(dataset))])
    return MODELS.build(preprocessor)(batch)['inputs']


@pytest.mark.parametrize(
    'name', ['ucf101/finetune_ucf101.py', 'ssv2/finetune_ssv2.py']
)
def test_clips_are_those_of_the_validation(name, folder, tmp_path):
    lines = (folder / 'list.txt').read_text().splitlines()[:2]
    (tmp_path / 'list.txt').write_text('\n'.join(lines))
    cfg = validation(
        name,
        ann_file=str(tmp_path / 'list.txt'),
        data_prefix=dict(video=str(folder / 'videos')),
        serialize_data=False,
    )
    expected = inputs(cfg, cfg.model.data_preprocessor).squeeze(1)
    cfg.model.backbone.update(arch=ARCH, init_cfg=None)
    cfg.model.cls_head.in_channels = 24
    write_checkpoint(tmp_path / 'a.pth', cfg)
    encoder = bimm_mm.load_encoder(tmp_path / 'a.pth', device='cpu')
    for line, clip in zip(lines, expected, strict=True):
        file = folder / 'videos' / line.split()[0]
        assert bimm_mm.load_clip(file, encoder)[0].equal(clip)


def test_photos_are_those_of_the_validation(data_root, tmp_path):
    source = data_root / 'image_mini' / 'hymenoptera' / 'val'
    files = sorted(source.rglob('*.jpg'))[:2]
    for file in files:
        (tmp_path / 'photos' / 'a').mkdir(parents=True, exist_ok=True)
        shutil.copy(file, tmp_path / 'photos' / 'a')
    cfg = validation('imagenet/finetune_bimm_in1k.py')
    cfg.val_dataloader.dataset = dict(
        type='CustomDataset',
        data_prefix=str(tmp_path / 'photos'),
        pipeline=cfg.val_dataloader.dataset.pipeline,
    )
    preprocessor = dict(cfg.data_preprocessor, type='ClsDataPreprocessor')
    expected = inputs(cfg, preprocessor)
    encoder = bimm_mm.Encoder(dict(arch=ARCH))
    for file, image in zip(files, expected, strict=True):
        x = bimm_mm.load_clip(file, encoder)
        torch.testing.assert_close(x[0, :, 0], image)


def test_broken_files_are_named_or_left_out_loudly(
    encoder, folder, tmp_path, capsys
):
    shutil.copy(clip_files(folder)[0], tmp_path / 'c.mp4')
    whole = Path(clip_files(folder)[1]).read_bytes()
    (tmp_path / 'b.mp4').write_bytes(whole[: len(whole) // 9])
    (tmp_path / 'a').mkdir()
    (tmp_path / 'a' / 'd.mp4').write_text('no video')
    with pytest.raises(ValueError, match=r'a/d\.mp4 cannot be .*skip_bad'):
        encoder.embed(tmp_path)
    rows = encoder.embed(tmp_path, skip_bad=True)
    assert rows.isnan().all(1).tolist() == [True, True, False]
    assert rows[2].isfinite().all()
    said = capsys.readouterr().err
    assert f'LEFT OUT: {tmp_path}/b.mp4' in said
    assert 'LEFT OUT: 2 of 3 files cannot be read' in said
    with pytest.raises(ValueError, match='none of 1 files can be read'):
        encoder.embed([tmp_path / 'b.mp4'], skip_bad=True)


def test_inputs_that_do_not_serve_are_refused(encoder, tmp_path):
    """Others are test_bad_input.py's."""
    photo = np.zeros((32, 32, 3), np.uint8)
    for x, words in (
        (tmp_path / 'gone.mp4', r'gone\.mp4: there is no such file\. Correct'),
        ([], 'list is empty'),
        (photo, r'takes videos of 4 frames: .*np\.stack'),
        (photo / 255, 'neither an image .* goes through encoder'),
        (photo[:0], 'neither an image'),
        (photo[None, :, :0], 'neither an image'),
        (np.stack([photo] * 4)[:0], 'nor a video'),
        (Image.fromarray(photo[..., 0].astype(np.uint16)), 'mode I;16 .*RGB'),
        (
            Image.fromarray(photo[..., 0] / np.float32(255)),
            'picture of mode F',
        ),
    ):
        with pytest.raises(ValueError, match=words):
            encoder.embed(x)
    with pytest.raises(ValueError, match="level='frame' is unknown"):
        encoder.embed(photo, level='frame')
    clip = np.stack([photo] * 4)
    for size in (0, 2.5, '8', True):
        with pytest.raises(ValueError, match=f'batch_size={size!r} must be a'):
            encoder.embed(clip, batch_size=size)
    for blocks in ([], [0], [3]):
        with pytest.raises(ValueError, match=r'each in 1\.\.2'):
            encoder.embed(clip, blocks=blocks)
    rows = encoder.embed(clip, blocks=np.array([1, 2]))
    assert rows.equal(encoder.embed(clip, blocks=[1, 2]))


def test_sources_that_do_not_serve_are_refused(run, tmp_path):
    from torchvision.models import resnet18

    torch.save(resnet18().state_dict(), tmp_path / 'resnet.pth')
    content = torch.load(run / 'epoch_1.pth')
    content['state_dict'].pop('dorsal.backbone.norm.bias')
    torch.save(content, tmp_path / 'part.pth')
    (tmp_path / 'empty').mkdir()
    for name, words in (
        ('resnet.pth', r'resnet\.pth: no encoder of a known kind'),
        ('part.pth', r'part\.pth .*1 of 29 tensors are missing'),
        ('empty', 'empty holds no whole checkpoint'),
    ):
        with pytest.raises(ValueError, match=words):
            bimm_mm.load_encoder(tmp_path / name)
    text = content['meta']['cfg']
    for words, old, new in (
        ('embed_dims=24 must be divisible', 'num_heads=2', 'num_heads=5'),
        ("TypeError: .*'num_frame'", 'num_frames=4', 'num_frame=4'),
        ('frame_interval=0 must be', 'frame_interval=3', 'frame_interval=0'),
        (r'std=\(0\.0, 0\.0, 0\.0\)', '60.0', '0.0'),
    ):
        assert old in text
        content['meta']['cfg'] = text.replace(old, new)
        torch.save(content, tmp_path / 'other.pth')
        with pytest.raises(ValueError, match=rf'other\.pth: .*{words}'):
            bimm_mm.load_encoder(tmp_path / 'other.pth')
    torch.save(torch.ones(3), tmp_path / 'empty' / 'epoch_1.pth')
    with pytest.raises(ValueError, match='empty holds no whole checkpoint'):
        bimm_mm.load_encoder(tmp_path / 'empty')
    with pytest.raises(FileNotFoundError, match=r'no checkpoint at .*gone'):
        bimm_mm.load_encoder(tmp_path / 'gone.pth')
    with pytest.raises(ValueError, match="branch='left' is unknown"):
        bimm_mm.load_encoder(run, branch='left')


def test_models_by_name(run):
    assert 'bimm-small-image' in bimm_mm.list_models()
    videos = bimm_mm.list_models('*-video')
    assert videos and all(name.endswith('-video') for name in videos)
    model = bimm_mm.get_model('bimm-tiny-video', device='cpu')
    assert (model.embed_dims, model.size) == (192, (16, 224, 224))
    with pytest.raises(ValueError, match=r"'bimm-tny-video': did .*tiny-vid"):
        bimm_mm.get_model('bimm-tny-video')
    with pytest.raises(ValueError, match=r'images with 2 blocks of width 24'):
        bimm_mm.get_model('bimm-base-image', pretrained=run)


def test_a_small_model_comes_with_the_package():
    (name,) = bimm_mm.list_models('*-demo')
    encoder = bimm_mm.get_model(name, pretrained=True, device='cpu')
    assert encoder.size == (8, 64, 64)
    # A view that moves over a photograph, which it has not seen.
    photo = skimage.data.chelsea()
    clip = np.stack([photo[:, x : x + 300] for x in range(0, 64, 8)])
    features = encoder.embed(clip)
    # By its name everywhere; without weights by the same architecture.
    again = bimm_mm.load_encoder(name, device='cpu').embed(clip)
    assert torch.equal(features, again)
    blank = bimm_mm.get_model(name, device='cpu')
    assert blank.size == encoder.size
    assert not torch.equal(blank.embed(clip), features)
    # What is general enough: a part of the Gabor features' variance.
    areas = bimm_mm.reconstruct(name, clip)
    for branch in ('ventral', 'dorsal'):
        v1 = areas[f'{branch}_V1']
        error = F.mse_loss(v1.prediction, v1.target)
        assert error < 0.85 * v1.target.var()
    # The card is of this file.
    path = Path(encoder.source)
    card = (path.parent / 'README.md').read_text()
    assert sha256_of_file(path) in card
    with pytest.raises(ValueError, match=r'no weights of bimm-tiny-video'):
        bimm_mm.get_model('bimm-tiny-video', pretrained=True)
    with pytest.raises(ValueError, match=r'weights of its own'):
        bimm_mm.get_model(name, pretrained='other.pth')


def test_configs_by_name():
    cfg = bimm_mm.get_config('pretrain_joint_k400')
    assert cfg.model.type == 'bimm_mm.BIMM'
    with pytest.raises(ValueError, match=r'did you mean .*pretrain_joint_k4'):
        bimm_mm.get_config('pretrain_join_k400')
    with pytest.raises(ValueError, match='no config'):
        bimm_mm.get_config('default_runtime')
    toy = bimm_mm.get_config('quickstart/pretrain_joint')
    assert toy.model.share_blocks == 4


def test_a_name_of_several_configs_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(models, 'find_configs', lambda: tmp_path / 'configs')
    for folder in ('one', 'two'):
        path = tmp_path / 'configs' / folder / 'same.py'
        path.parent.mkdir(parents=True)
        path.write_text(f'work_dir = {folder!r}')
    with pytest.raises(ValueError, match=r'same.*: give one/same or two/same'):
        bimm_mm.get_config('same')
    assert bimm_mm.get_config('two/same').work_dir == 'two'


def test_names_are_listed_and_others_refused():
    assert {*bimm_mm.__all__} <= {*dir(bimm_mm)}
    for name in bimm_mm.__all__:
        assert getattr(bimm_mm, name).__doc__
    with pytest.raises(AttributeError, match="bimm_mm has no 'embed'"):
        bimm_mm.embed  # noqa: B018
