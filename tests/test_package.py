"""The wheel, in an environment of a user's own, and in their configs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ENV = {
    **{k: v for k, v in os.environ.items() if k != 'PYTHONPATH'},
    'PIP_NO_INDEX': '1',
    'PIP_CONFIG_FILE': os.devnull,
}


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(
        command,
        cwd=cwd,
        env=ENV,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope='module')
def user(tmp_path_factory) -> Path:
    """A folder with an environment in ``env`` that has the wheel.

    It sees the libraries of this environment. Like any that pip made, it has
    OpenCV under the names that mmengine and mmaction2 ask for.
    """
    folder = tmp_path_factory.mktemp('user')
    source = folder / 'source'
    source.mkdir()
    for name in ('bimm_mm', 'configs'):
        ignored = shutil.ignore_patterns('__pycache__')
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    for path in ROOT.glob('*.*'):
        if path.is_file():
            shutil.copy(path, source)
    shutil.copy(ROOT / 'LICENSE', source)
    pip = (sys.executable, '-m', 'pip')
    options = ('--no-deps', '--no-build-isolation', '-w', folder)
    run(*pip, 'wheel', *options, source, cwd=folder)
    run(sys.executable, '-m', 'venv', '--without-pip', 'env', cwd=folder)
    (site,) = (folder / 'env').glob('lib/python*/site-packages')
    (site / 'libraries.pth').write_text(sysconfig.get_path('purelib'))
    for name in ('opencv-python', 'opencv-contrib-python'):
        info = site / f'{name.replace("-", "_")}-4.10.0.dist-info'
        info.mkdir()
        (info / 'METADATA').write_text(
            f'Metadata-Version: 2.1\nName: {name}\nVersion: 4.10.0\n'
        )
    (wheel,) = folder.glob('*.whl')
    python = folder / 'env' / 'bin' / 'python'
    run(
        *pip,
        *('--python', python, 'install', '--force-reinstall', '--no-deps'),
        wheel,
        cwd=folder,
    )
    return folder


@pytest.mark.parametrize('extra', ['', '[all]'])
def test_pip_changes_nothing_in_an_environment_of_openmmlab(user, extra):
    pip = (sys.executable, '-m', 'pip', '--python', 'env/bin/python')
    said = run(*pip, 'install', '--dry-run', f'bimm_mm{extra}', cwd=user)
    assert 'Requirement already satisfied: mmengine>=0.10' in said
    assert 'Would install' not in said


IMPORT = """
import sys
from pathlib import Path
import bimm_mm
from mmengine.config import Config
home = Path(bimm_mm.__file__).parent
assert home.is_relative_to(Path.cwd() / 'env'), home
assert (home / 'py.typed').is_file()
assert (home / 'apis' / 'templates' / 'page.html').is_file()
assert (home / '.mim' / 'model-index.yml').is_file()
configs = sorted((home / '.mim' / 'configs').rglob('pretrain_joint*.py'))
assert configs
for config in configs:
    assert Config.fromfile(config).model.type == 'bimm_mm.BIMM'
named = bimm_mm.get_config('pretrain_joint_k400').filename
assert Path(named).is_relative_to(home), named
"""


def test_the_wheel_has_configs_types_and_index(user):
    run(user / 'env' / 'bin' / 'python', '-c', IMPORT, cwd=user)


ENCODER = """
custom_imports = dict(imports=['bimm_mm.compat'])
encoder = dict(
    type='bimm_mm.BIMMVisionTransformer',
    arch=dict(embed_dims=48, depth=2, num_heads=3),
    img_size=64,
    patch_size=16,
)
"""
CONFIGS = {
    'mmaction': """
model = dict(
    type='Recognizer3D',
    backbone=dict(
        num_frames=4, tubelet_size=2, out_type='avg', single_output=True,
        **_base_.encoder),
    cls_head=dict(type='TimeSformerHead', in_channels=48, num_classes=3))
inputs = (2, 1, 3, 4, 64, 64)
""",
    'mmpretrain': """
model = dict(
    type='ImageClassifier',
    backbone=_base_.encoder,
    head=dict(type='VisionTransformerClsHead', in_channels=48, num_classes=3))
inputs = (2, 3, 64, 64)
""",
    'mmseg': """
model = dict(
    type='EncoderDecoder',
    backbone=dict(out_type='featmap', out_indices=[0, 1], **_base_.encoder),
    decode_head=dict(
        type='FCNHead', in_channels=48, channels=16, num_classes=3,
        in_index=1, norm_cfg=dict(type='BN')),
    test_cfg=dict(mode='whole'))
inputs = (2, 3, 64, 64)
""",
    'mmdet': """
_base_ = ['encoder.py', 'mmdet::_base_/models/faster-rcnn_r50_fpn.py']
model = dict(
    backbone=dict(
        _delete_=True, out_type='featmap', with_cls_token=False,
        **_base_.encoder),
    neck=dict(_delete_=True, type='bimm_mm.SimpleFPN', in_channels=48))
inputs = (2, 3, 64, 64)
""",
}
FORWARD = """
import sys
# What extras bring is not needed for the encoder and its learning rates.
for name in ('av', 'decord', 'ray', 'segment_anything'):
    sys.modules[name] = None
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope, init_default_scope
for path in sys.argv[1:]:
    cfg = Config.fromfile(path)
    DefaultScope._instance_dict.clear()
    init_default_scope(cfg.default_scope)
    model = MODELS.build(cfg.model).eval()
    images = torch.rand(cfg.inputs)
    samples = None
    if cfg.default_scope == 'mmdet':  # its second stage needs the sizes
        from mmdet.structures import DetDataSample
        sizes = dict(img_shape=images.shape[2:], scale_factor=(1, 1))
        samples = [DetDataSample(metainfo=sizes) for _ in images]
    with torch.no_grad():
        out = model(images, samples)
    while isinstance(out, (tuple, list)):
        out = out[-1]
    print('output', cfg.default_scope, *out.shape[1:])
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS
assert OPTIM_WRAPPER_CONSTRUCTORS.get('bimm_mm.LayerDecay')
"""
SHAPES = {
    'mmaction': '48',
    'mmpretrain': '3',
    'mmseg': '3 4 4',
    'mmdet': '320',  # four coordinates of a box for each of 80 classes
}


def test_the_encoder_runs_in_configs_of_a_user_for_four_libraries(user):
    (user / 'encoder.py').write_text(ENCODER)
    configs = []
    for library, text in CONFIGS.items():
        base = '' if '_base_ =' in text else "_base_ = ['encoder.py']\n"
        configs.append(user / f'my_{library}.py')
        configs[-1].write_text(
            f"{base}default_scope = '{library}'\n{text.strip()}\n"
        )
    python = user / 'env' / 'bin' / 'python'
    said = run(python, '-W', 'ignore', '-c', FORWARD, *configs, cwd=user)
    found = [line for line in said.splitlines() if line.startswith('output ')]
    assert found == [f'output {name} {SHAPES[name]}' for name in CONFIGS]


def test_versions_are_the_same_everywhere():
    (version,) = re.findall(
        r"'(.+)'", (ROOT / 'bimm_mm' / 'version.py').read_text()
    )
    assert f'\nversion: {version}\n' in (ROOT / 'CITATION.cff').read_text()
    pins = (ROOT / 'requirements' / 'tests.txt').read_text()
    hooks = (ROOT / '.pre-commit-config.yaml').read_text()
    found = re.findall(r'additional_dependencies: \[(\S+)\]', hooks)
    assert len(found) == hooks.count('- id:') == 4
    for pin in found:
        assert f'\n{pin}\n' in pins
