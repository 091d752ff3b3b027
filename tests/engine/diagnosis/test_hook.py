"""The hook in a run: what it writes and that it changes nothing."""

from __future__ import annotations

import json

import pytest
import torch
from mmengine.model import BaseModel

from bimm_mm.apis import read_scalars
from bimm_mm.engine import DiagnosisHook
from bimm_mm.engine.diagnosis_records import read_records
from bimm_mm.utils.random_state import preserve_state

HOOK = dict(type='bimm_mm.DiagnosisHook', interval=2, batch_size=4)
AREAS = ['ventral_V1', 'ventral_V4', 'dorsal_V1', 'dorsal_MT']


@pytest.fixture
def run(train, make_clips):
    """A run of BIMM with everything measured."""
    hook = dict(HOOK, knn=dict(dataset=make_clips(10), k=3))
    return train([hook])


def test_run_with_hook_equals_one_without_bit_by_bit(run, train):
    losses, weights, _ = run
    plain_losses, plain_weights, _ = train([], name='plain')
    assert len(losses) == 5
    assert losses == plain_losses
    assert weights.keys() == plain_weights.keys()
    for name, weight in weights.items():
        assert torch.equal(weight, plain_weights[name]), name


def test_records_page_and_picture(run):
    work_dir = run[2]
    records = read_records(work_dir / 'diagnosis.jsonl')
    assert [record['iter'] for record in records] == [0, 2, 4, 5]
    last = records[-1]
    assert list(last['areas']) == AREAS
    assert list(last['gradient_norm']) == AREAS
    assert min(last['gradient_norm'].values()) > 0
    assert last['shared'] == {'ventral_': [1, 2], 'dorsal_': [1, 2]}
    for i, row in enumerate(last['cosine']):
        assert row[i] == pytest.approx(1)
    assert [len(r['blocks']) for r in last['rank'].values()] == [3, 3]
    # 4 frames of 16 patches; 4 clips of 32 tokens, of width 24.
    assert [r['limit'] for r in last['rank'].values()] == [24, 24]
    # Brightness alone tells the two classes apart.
    assert last['knn']['blocks']['ventral_'][0] == 1
    assert last['knn']['majority'] == 0.5
    page = (work_dir / 'diagnosis.md').read_text()
    assert '| dorsal_MT |' in page
    assert 'below 0 the areas pull the shared blocks apart' in page
    assert 'not measured' not in page
    assert (work_dir / 'diagnosis.png').read_bytes()[1:4] == b'PNG'


def test_curves_are_no_losses_and_no_areas_of_validation(run):
    series = read_scalars(run[2])
    names = [name for name in series if name.startswith('diagnosis/')]
    assert 'diagnosis/dorsal_MT/relative_error' in names
    assert 'diagnosis/cosine/dorsal_V1__dorsal_MT' in names
    assert 'diagnosis/dorsal_block3/knn' in names
    assert not [n for n in names if 'loss' in n or n.endswith('/mse')]
    values = series['diagnosis/dorsal_block3/effective_rank']
    assert sorted(values) == [0, 2, 4, 5]


def test_only_training_changes_the_numbers(train):
    still = dict(optimizer=dict(type='SGD', lr=0.0))
    *_, work_dir = train([HOOK], optim_wrapper=still)
    records = read_records(work_dir / 'diagnosis.jsonl')
    for record in records:
        del record['seconds'], record['iter']
    # The same samples, frames and masks every time.
    assert all(record == records[0] for record in records[1:])


def test_one_area_has_no_cosine_and_the_page_says_so(train, make_model):
    *_, work_dir = train([HOOK], model=make_model('single'))
    last = read_records(work_dir / 'diagnosis.jsonl')[-1]
    assert last['cosine'] is None
    assert last['gradient_norm']['MT'] > 0
    page = (work_dir / 'diagnosis.md').read_text()
    assert 'MT is the only area' in page
    assert 'k-NN accuracy was not measured' in page


def test_gradients_modes_and_random_state_are_left(make_model, clips):
    model = make_model('bimm').train()
    model.ventral.backbone.blocks[2].eval()
    sum(model.loss(clips).values()).backward()
    grads = {n: p.grad.clone() for n, p in model.named_parameters()}
    modes = [module.training for module in model.modules()]
    state = torch.get_rng_state()
    with preserve_state(model, 5):
        assert not model.training
        torch.rand(3)
    assert torch.equal(torch.get_rng_state(), state)
    assert [module.training for module in model.modules()] == modes
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter.grad, grads[name])


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(interval=0), r'interval=0 must be at least 1'),
        (dict(interval=1, batch_size=0), r'batch_size=0 must be'),
        (dict(interval=1, seed=-1), r'seed=-1 must be at least 0'),
        (dict(interval=1, split='test'), r"split='test' is unknown"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        DiagnosisHook(**options)


class Other(BaseModel):
    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(2, 2)

    def forward(self, inputs, data_samples=None, mode='loss'):
        raise AssertionError('the run should not get here')


def test_other_models_are_refused(train):
    with pytest.raises(ValueError, match=r'MaskedBranch and bimm_mm\.BIMM'):
        train([HOOK], model=Other())


def test_validation_split_without_a_validation_set(train):
    with pytest.raises(ValueError, match=r"set split='train'"):
        train([dict(HOOK, split='val')])


def test_labels_are_needed_for_knn(train, make_clips):
    knn = dict(dataset=make_clips(4, labelled=False), k=1)
    with pytest.raises(ValueError, match=r'sample 0 of the dataset has no la'):
        train([dict(HOOK, knn=knn)])


def test_mistyped_option_of_knn_is_named(train, make_clips):
    knn = dict(dataset=make_clips(4), neighbors=1)
    with pytest.raises(TypeError, match=r'neighbors'):
        train([dict(HOOK, knn=knn)])


def test_torn_line_is_left_out_and_a_new_run_replaces(tmp_path):
    from bimm_mm.engine.diagnosis_records import append_record

    path = tmp_path / 'diagnosis.jsonl'
    for step in (0, 2, 4):
        append_record({'iter': step, 'x': 1, 'bad': float('nan')}, path)
    with open(path, 'a') as file:
        file.write('{"iter": 6, "x"')
    append_record({'iter': 2, 'x': 2}, path)
    assert [json.loads(x)['iter'] for x in path.read_text().splitlines()[:3]]
    found = read_records(path)
    assert [(r['iter'], r['x']) for r in found] == [(0, 1), (2, 2)]
    assert found[0]['bad'] is None
