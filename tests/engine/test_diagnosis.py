"""Gradients of areas and ranks of features, and a hook that leaves no trace.

Oracles: separate backward passes, NumPy's singular values, the dense encoder.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.model import BaseModel
from mmengine.runner import Runner

from bimm_mm.apis.curves import read_scalars
from bimm_mm.engine.hooks import diagnosis
from bimm_mm.models import BIMM, MaskedBranch
from bimm_mm.structures import ClipBatch

HOOK = dict(type='bimm_mm.DiagnosisHook', interval=4, batch_size=4)
AREAS = ['ventral_V1', 'ventral_V4', 'dorsal_V1', 'dorsal_MT']


def _area(name: str, after_block: int, target: str) -> dict:
    decoder = dict(
        type='bimm_mm.TransformerDecoder',
        depth=1,
        decoder_dims=16,
        num_heads=2,
    )
    target = dict(type=f'bimm_mm.{target}')
    return dict(
        name=name, after_block=after_block, decoder=decoder, target=target
    )


V1, MT = _area('V1', 2, 'PixelTarget'), _area('MT', 3, 'MotionTarget')
V4 = _area('V4', 3, 'PixelTarget')


def _branch(*areas: dict, video: bool) -> dict:
    backbone = dict(
        type='bimm_mm.BIMMVisionTransformer',
        arch=dict(embed_dims=24, depth=3, num_heads=2),
        img_size=32,
        patch_size=8,
        drop_path_rate=0.2,
    )
    if video:
        backbone.update(num_frames=4, tubelet_size=2)
    kind = 'Tube' if video else 'Random'
    masking = dict(type=f'bimm_mm.{kind}Masking', ratio=0.5)
    return dict(backbone=backbone, masking=masking, areas=list(areas))


def make_model(kind: str, share_blocks: int = 2) -> MaskedBranch | BIMM:
    """``'bimm'``, ``'branch'`` (two areas) or ``'single'`` (one)."""
    torch.manual_seed(0)
    common = dict(data_preprocessor=dict(type='bimm_mm.ClipDataPreprocessor'))
    if kind == 'bimm':
        return BIMM(
            ventral=_branch(V1, V4, video=False),
            dorsal=_branch(V1, MT, video=True),
            share_blocks=share_blocks,
            dorsal_weight=0.5,
            **common,
        )
    areas = dict(branch=[V1, MT], single=[MT])[kind]
    return MaskedBranch(**_branch(*areas, video=True), **common)


@pytest.fixture
def clips() -> ClipBatch:
    rng = torch.Generator().manual_seed(1)
    pixels = torch.rand(3, 3, 4, 32, 32, generator=rng)
    return ClipBatch((pixels - 0.45) / 0.225, pixels)


def _gradients(model: MaskedBranch | BIMM, clips: ClipBatch) -> dict:
    torch.manual_seed(0)
    return diagnosis.area_gradients(model.eval(), clips)


def _backward(
    model: MaskedBranch | BIMM, clips: ClipBatch, name: str
) -> torch.Tensor:
    """Gradient of one loss of training at the first two blocks."""
    model.zero_grad()
    torch.manual_seed(0)
    model.loss(clips)[f'loss_{name}'].backward()
    blocks = getattr(model, 'dorsal', model).backbone.blocks[:2]
    return torch.cat([p.grad.flatten() for p in blocks.parameters()])


@pytest.mark.parametrize('kind', ['bimm', 'branch'])
def test_norms_and_cosines_of_separate_backward_passes(kind, clips):
    model = make_model(kind)
    found = _gradients(model, clips)
    assert list(found) == (AREAS if kind == 'bimm' else ['V1', 'MT'])
    assert all(p.grad is None for p in model.parameters())
    cosines = diagnosis.cosine_matrix(list(found.values()))
    flat = [_backward(model, clips, name) for name in found]
    for i, gradient in enumerate(found.values()):
        norm = diagnosis.gradient_norm(gradient)
        assert norm == pytest.approx(float(flat[i].norm()), rel=1e-4)
        for j, other in enumerate(flat):
            wanted = float(torch.cosine_similarity(flat[i], other, dim=0))
            assert cosines[i, j] == pytest.approx(wanted, abs=1e-5)


def test_cosine_counts_only_what_both_reach():
    a, b = torch.tensor([3.0, 4.0]), torch.tensor([-4.0, 3.0])
    matrix = diagnosis.cosine_matrix([[a], [0.1 * a], [-a], [b]])
    assert matrix[0] == pytest.approx([1, 1, -1, 0])
    assert (matrix == matrix.T).all()
    a, b, zero = torch.tensor([3.0, 4.0]), torch.ones(1), torch.zeros(2)
    rows = [[a, b], [a, None], [None, b], [zero, None]]
    matrix = diagnosis.cosine_matrix(rows)
    assert matrix[0, 1] == pytest.approx(1)
    assert np.isnan(matrix[1, 2]) and np.isnan(matrix[1, 3])
    assert diagnosis.gradient_norm(rows[1]) == pytest.approx(5)


@pytest.mark.parametrize(
    ('kind', 'share_blocks', 'wanted'),
    [
        ('bimm', 2, 2),
        ('bimm', 1, 1),
        # Not shared: where the two areas of either branch meet.
        ('bimm', 0, 4),
        ('branch', 2, 2),
        ('single', 2, 3),
    ],
)
def test_blocks_where_areas_meet(kind, share_blocks, wanted):
    blocks = diagnosis.shared_blocks(make_model(kind, share_blocks))
    assert len(blocks) == len(set(blocks)) == wanted


@pytest.mark.parametrize('shape', [(20, 7), (7, 20)])
@pytest.mark.parametrize('values', [[5, 3, 1, 0.1], [2, 2, 2], [4]])
def test_effective_rank_of_known_singular_values(shape, values):
    rng = np.random.default_rng(0)
    rows, columns = shape
    # Columns orthogonal to a constant one, so that the mean is zero.
    left = np.column_stack(
        [np.ones(rows), rng.normal(size=(rows, len(values)))]
    )
    left = np.linalg.qr(left)[0][:, 1:]
    right, _ = np.linalg.qr(rng.normal(size=(columns, len(values))))
    matrix = torch.from_numpy(left * np.array(values) @ right.T)
    shares = np.array(values) / sum(values)
    wanted = np.exp(-(shares * np.log(shares)).sum())
    # What all vectors have in common counts for nothing.
    for offset in (0, 100):
        found = diagnosis.effective_rank(matrix + offset)
        assert found == pytest.approx(wanted, rel=1e-5)
    assert diagnosis.effective_rank(torch.full((40, 3), 0.1)) == 0


def test_features_are_those_of_the_dense_encoder(clips):
    model = make_model('bimm').eval()
    found = diagnosis.block_features(model, clips)
    assert found['dorsal_block1'].shape == (3, 32, 24)
    dense = model.dorsal.backbone
    dense.out_type, dense.out_indices = 'avg', [0, 1]
    with torch.no_grad():
        wanted = dense(clips.inputs)
        frame = clips.frame(torch.full((3,), 2))  # the middle of four
        last = model.ventral.backbone.encode(frame.inputs, None, [3])[3]
    for block in (1, 2):
        mean = found[f'dorsal_block{block}'].mean(1)
        torch.testing.assert_close(mean, wanted[block - 1])
    torch.testing.assert_close(found['ventral_block3'], last[:, -16:])


def _clips() -> list[dict]:
    """Six random clips of four frames."""
    rng = torch.Generator().manual_seed(0)
    size = (6, 1, 3, 4, 32, 32)
    clips = torch.randint(256, size, generator=rng, dtype=torch.uint8)
    return [dict(inputs=clip, data_samples=0) for clip in clips]


@pytest.fixture
def train(make_runner: Callable[..., Runner]) -> Callable[..., Runner]:
    """Train 6 steps."""

    def run(model: BaseModel, *hooks: dict, lr: float = 1e-3) -> Runner:
        name = f'{type(model).__name__}_{len(hooks)}'
        backends = [dict(type='LocalVisBackend')]
        runner = make_runner(
            name=name,
            model=model,
            samples=_clips(),
            hooks=list(hooks),
            lr=lr,
            visualizer=dict(
                type='Visualizer', vis_backends=backends, name=name
            ),
        )
        runner.train()
        return runner

    return run


def _curves(runner: Runner) -> dict[str, dict[int, float]]:
    series = read_scalars(runner.work_dir)
    return {k: v for k, v in series.items() if k.startswith('diagnosis/')}


def test_run_with_hook_equals_one_without_bit_by_bit(train):
    runner, plain = train(make_model('bimm'), HOOK), train(make_model('bimm'))
    losses, wanted = (
        run.message_hub.get_scalar('train/loss').data[0]
        for run in (runner, plain)
    )
    assert len(losses) == 6 and losses.tolist() == wanted.tolist()
    weights = plain.model.state_dict()
    for name, weight in runner.model.state_dict().items():
        assert torch.equal(weight, weights[name]), name
    curves = _curves(runner)
    pairs = [f'{a}__{b}' for a, b in itertools.combinations(AREAS, 2)]
    branches = [f'{b}_block{i}' for b in ('ventral', 'dorsal') for i in '123']
    assert set(curves) == {
        *(f'diagnosis/{area}/relative_error' for area in AREAS),
        *(f'diagnosis/{area}/gradient_norm' for area in AREAS),
        *(f'diagnosis/cosine/{pair}' for pair in pairs),
        *(f'diagnosis/{block}/effective_rank' for block in branches),
    }
    assert all(list(curve) == [0, 4, 6] for curve in curves.values())
    pictures = list(Path(runner.work_dir).rglob('diagnosis_*.png'))
    assert len(pictures) == 3
    assert cv2.imread(str(pictures[0])).std() > 10


def test_only_training_changes_the_numbers(train):
    # One area: no cosine.
    curves = _curves(train(make_model('single'), HOOK, lr=0.0))
    assert len(curves) == 2 + 3
    for curve in curves.values():
        assert len(set(curve.values())) == 1


def test_a_model_of_somebody_else_is_refused(make_runner):
    # The default is a linear map.
    with pytest.raises(ValueError, match=r'bimm_mm\.BIMM on rank 0, not Nois'):
        make_runner(hooks=[HOOK]).train()
