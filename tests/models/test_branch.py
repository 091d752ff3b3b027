"""One branch: what may reach the encoder, what the loss may see."""

import pytest
import torch

from bimm_mm.models import BIMM, Area, MaskedBranch, MultiDecoderHead
from bimm_mm.registry import MODELS


@pytest.fixture(params=['ventral', 'dorsal', 'mam2'])
def branch_and_clip(request, make_clips):
    torch.manual_seed(0)
    branch = MaskedBranch(**request.getfixturevalue(f'{request.param}_cfg'))
    return branch, make_clips(frames=1 if request.param == 'ventral' else 4)


def _predict(branch, clips, seed=0):
    torch.manual_seed(seed)
    with torch.no_grad():
        return branch(clips, mode='predict')[0]


def test_hidden_pixels_do_not_reach_the_predictions(branch_and_clip):
    branch, clip = branch_and_clip
    before = _predict(branch, clip)
    name = next(iter(before))
    t, h, w = branch.backbone.grid(clip.size)
    q, p, _ = branch.backbone.patch
    hidden = torch.zeros(2, t * h * w)
    hidden.scatter_(1, before[name].indices.hidden, 1.0)
    noise = hidden.view(2, 1, t, h, w)
    for axis, factor in ((2, q), (3, p), (4, p)):
        noise = noise.repeat_interleave(factor, dim=axis)
    clip.inputs = clip.inputs + 7 * noise
    for name, out in _predict(branch, clip).items():
        assert torch.equal(out.prediction, before[name].prediction), name


def test_a_share_of_the_hidden_tokens_is_decoded(branch_and_clip):
    branch, clip = branch_and_clip
    whole = _predict(branch, clip)
    branch.decoded = 0.5
    assert torch.isfinite(torch.stack(list(branch(clip).values()))).all()
    for (name, all_), part in zip(
        whole.items(), _predict(branch, clip).values(), strict=True
    ):
        hidden, kept = all_.indices.hidden, part.indices.hidden
        assert part.prediction.shape[1] == kept.shape[1]
        assert kept.shape[1] == hidden.shape[1] // 2
        for known, row in zip(hidden.tolist(), kept.tolist(), strict=True):
            assert set(row) < set(known) and len({*row}) == len(row), name
        # Which ones is drawn anew each time, and evaluation has all.
        again = _predict(branch, clip, seed=1)[name].indices.hidden
        assert not torch.equal(again, kept)
    branch.eval()
    for name, out in _predict(branch, clip).items():
        assert torch.equal(out.prediction, whole[name].prediction)


@pytest.mark.parametrize('share', [0.0, 1.5])
def test_a_share_that_is_none(ventral_cfg, share):
    with pytest.raises(ValueError, match=f'decoded={share} must lie in'):
        MaskedBranch(**ventral_cfg, decoded=share)


def test_the_weight_scales_its_area_only(ventral_cfg, make_clips):
    torch.manual_seed(0)
    plain = MaskedBranch(**ventral_cfg)
    ventral_cfg['areas'][1]['weight'] = 3.0
    heavy = MaskedBranch(**ventral_cfg)
    heavy.load_state_dict(plain.state_dict())
    losses = []
    for branch in (plain, heavy):
        torch.manual_seed(1)
        losses.append(branch(make_clips(frames=1)))
    assert losses[1]['loss_V2'] == 3 * losses[0]['loss_V2']
    assert losses[1]['loss_V1'] == losses[0]['loss_V1']


def test_v1_reaches_blocks_1_and_2_and_no_other(dorsal_cfg, make_clips):
    branch = MaskedBranch(**dorsal_cfg)
    branch(make_clips())['loss_V1'].backward()
    for index, block in enumerate(branch.backbone.blocks, start=1):
        grads = [p.grad for p in block.parameters()]
        if index <= 2:
            assert all(g is not None for g in grads)
            assert block.mlp.fc1.weight.grad.abs().max() > 0
        else:
            assert all(g is None for g in grads)


def test_every_trainable_parameter_gets_a_gradient(branch_and_clip):
    branch, clip = branch_and_clip
    sum(branch(clip).values()).backward()
    without = [
        name
        for name, p in branch.named_parameters()
        if p.requires_grad and p.grad is None
    ]
    assert not without


def test_blocks_after_the_last_area_are_frozen(dorsal_cfg, make_clips):
    dorsal_cfg['areas'] = dorsal_cfg['areas'][:1]
    branch = MaskedBranch(**dorsal_cfg)
    sum(branch(make_clips()).values()).backward()
    frozen = {
        name
        for name, p in branch.backbone.named_parameters()
        if not p.requires_grad
    }
    assert {name.split('.')[0] for name in frozen} == {'blocks', 'norm'}
    assert all(
        p.grad is not None for p in branch.parameters() if p.requires_grad
    )


def test_autocast_keeps_targets_and_losses_in_fp32(branch_and_clip):
    branch, clip = branch_and_clip
    with torch.autocast('cpu', dtype=torch.bfloat16):
        losses = branch(clip)
    assert all(loss.dtype == torch.float32 for loss in losses.values())
    assert all(loss.isfinite() for loss in losses.values())


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(after_block=5), r"'V1'.*after_block=5.*4 blocks"),
        (dict(name='V2'), "2 areas are called 'V2'"),
        (None, 'at least one to predict'),
    ],
)
def test_areas_that_cannot_be(ventral_cfg, change, message):
    if change is None:
        ventral_cfg['areas'] = []
    else:
        ventral_cfg['areas'][0].update(change)
    with pytest.raises(ValueError, match=message):
        MaskedBranch(**ventral_cfg)


def test_parts_are_replaced_by_name_in_the_config(ventral_cfg, make_clips):
    @MODELS.register_module()
    class DoubledArea(Area):
        def loss(self, output):
            return 2 * super().loss(output)

    @MODELS.register_module()
    class CountingHead(MultiDecoderHead):
        def metrics(self, outputs):
            return {'areas': torch.tensor(len(outputs))}

    @MODELS.register_module()
    class NamedBranch(MaskedBranch):
        pass

    try:
        first, *others = ventral_cfg['areas']
        doubled = dict(first, type='bimm_mm.DoubledArea')
        changed = dict(
            ventral_cfg,
            type='bimm_mm.NamedBranch',
            areas=[doubled, *others],
            head=dict(type='bimm_mm.CountingHead'),
        )
        model = BIMM(changed, dorsal=ventral_cfg, share_blocks=0)
    finally:
        for name in ('DoubledArea', 'CountingHead', 'NamedBranch'):
            MODELS.module_dict.pop(name)
    assert type(model.ventral) is NamedBranch
    assert type(model.dorsal) is MaskedBranch
    plain = model.dorsal
    plain.load_state_dict(model.ventral.state_dict())
    losses = []
    for branch in (model.ventral, plain):
        torch.manual_seed(0)
        losses.append(branch(make_clips(frames=1)))
    count = len(ventral_cfg['areas'])
    assert losses[0]['areas'] == count
    weighted = model.ventral.loss(
        make_clips(frames=1), prefix='a_', weight=2.0
    )
    assert weighted['a_areas'] == count  # no loss, which the weight scales
    assert losses[0]['loss_V1'] == 2 * losses[1]['loss_V1']
    assert losses[0]['loss_V2'] == losses[1]['loss_V2']


@pytest.mark.filterwarnings('ignore')
def test_compiled_as_one_graph_for_changing_batches(ventral_cfg, make_clips):
    ventral_cfg['backbone']['arch'].update(depth=1)
    last = dict(ventral_cfg['areas'][-1], after_block=1)
    model = MaskedBranch(**ventral_cfg | dict(areas=[last]))
    torch._dynamo.reset()
    compiled = torch.compile(model.forward, backend='eager', fullgraph=True)
    for batch in (2, 3):
        clips = make_clips(batch, frames=1)
        sums = []
        for run in (compiled, model.forward):
            model.zero_grad()
            torch.manual_seed(0)
            losses = run(clips)
            sum(losses.values()).backward()
            grads = [p.grad.clone() for p in model.parameters()]
            sums.append((losses, grads))
        torch.testing.assert_close(*sums, atol=1e-5, rtol=1e-4)
