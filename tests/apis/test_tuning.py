"""Planted encoders score where they must, and nowhere else."""

from __future__ import annotations

import json
import math
import shutil

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from sklearn.model_selection import LeaveOneOut, cross_val_predict
from sklearn.preprocessing import StandardScaler

import bimm_mm
from bimm_mm.apis.encoder import Encoder
from bimm_mm.apis.readout import (
    ALPHAS,
    Readout,
    cka,
    read_out,
    tuning_curves,
)
from bimm_mm.apis.tuning_study import Study
from bimm_mm.stimuli import PROPERTIES

SIDE, PATCH, NUMBER = 32, 8, 96
ANGLES = torch.arange(8) * math.pi / 4
LUMA = torch.tensor([0.299, 0.587, 0.114])


def planted(filters: torch.Tensor, *, depth: int = 2) -> Encoder:
    """An encoder whose patch embedding are filters (D, 2, 8, 8) of gray.

    Blocks pass on what they get, and positions are drowned.
    """
    encoder = Encoder(
        dict(
            arch=dict(embed_dims=len(filters), depth=depth, num_heads=1),
            img_size=SIDE,
            patch_size=PATCH,
            num_frames=8,
            tubelet_size=2,
            with_cls_token=False,
        ),
    ).eval()
    backbone = encoder.backbone
    with torch.no_grad():
        for block in backbone.blocks:
            for layer in (block.attn.proj, block.mlp.fc2):
                layer.weight.zero_()
                layer.bias.zero_()
        gray = LUMA[:, None, None, None] * encoder.std  # of bytes
        backbone.patch_embed.proj.weight.copy_(filters[:, None] * gray)
        backbone.patch_embed.proj.bias.zero_()
    return encoder


def waves(step: float) -> torch.Tensor:
    """Gabor filters (16, 2, 8, 8) in quadrature, which move by a phase."""
    line = (torch.arange(PATCH) - 3.5) / PATCH
    y, x = torch.meshgrid(line, line, indexing='ij')
    rows = []
    for angle, start in [(a, s) for a in ANGLES for s in (0, math.pi / 2)]:
        along = 2 * math.pi * 1.2 * (x * angle.cos() + y * angle.sin())
        frames = [(along - step * t + start).cos() for t in (0, 1)]
        rows.append(torch.stack(frames))
    filters = torch.stack(rows) * torch.exp(-8 * (x**2 + y**2))
    return filters - filters.mean((1, 2, 3), keepdim=True)


def best(result: dict, name: str, features: str = 'trained') -> dict:
    rows = [
        row
        for row in result['scores']
        if (row['property'], row['features']) == (name, features)
    ]
    return max(rows, key=lambda row: row['score'])


SEEN = ['orientation', 'direction', 'hue']


@pytest.mark.usefixtures('one_thread')
def test_still_gabor_filters_tell_orientation_alone():
    result = Study({'planted': planted(waves(0))}, number=NUMBER, seed=0).run(
        SEEN, quiet=True
    )
    assert best(result, 'orientation')['low'] > 0.7
    assert best(result, 'direction')['high'] < 0.3
    assert best(result, 'hue')['high'] < 0.3
    # What needs no learning is seen there, too.
    assert best(result, 'direction', 'motion energy')['low'] > 0.7
    assert best(result, 'hue', 'motion energy')['high'] < 0.3
    # The curve of a channel has its peak at the angle of its filter.
    rows = [x for x in result['channels'] if x['property'] == 'orientation']
    assert rows[0]['selectivity'] > 0.5 and rows[0]['of'] == 'deviation'
    peak = (np.nanargmax(rows[0]['curve']) + 0.5) * math.pi / 8
    off = peak - float(ANGLES[rows[0]['channel'] // 2])
    assert abs(math.remainder(off, math.pi)) < math.pi / 6


@pytest.mark.usefixtures('one_thread')
def test_moving_filters_tell_direction_and_the_right_block_is_best():
    encoder = planted(waves(1.0), depth=3)
    kept = []
    first, second, third = encoder.backbone.blocks
    first.register_forward_hook(
        lambda _, given, out: kept.append(out) or torch.randn_like(out)
    )
    second.register_forward_hook(lambda *_: kept.pop())
    third.register_forward_hook(lambda _, given, out: torch.randn_like(out))
    encoder.areas = {'MT': 2}
    study = Study({'planted': encoder}, number=NUMBER, seed=0)
    result = study.run(['direction', 'hue'], quiet=True)
    found = best(result, 'direction')
    assert found['block'] == 2 and found['low'] > 0.6
    assert best(result, 'hue')['high'] < 0.3
    others = [x for x in result['scores'] if x['block'] in (1, 3)]
    assert all(x['score'] < 0.3 for x in others if x['features'] == 'trained')


@pytest.mark.usefixtures('one_thread')
def test_differences_are_paired_by_stimulus():
    moving, still = planted(waves(1.0)), planted(waves(0))
    still.areas = {'MT': 1, 'V1': 1}
    study = Study(
        {'moving': moving, 'still': still, 'again': still},
        number=NUMBER,
        seed=0,
    )
    result = study.run(['orientation', 'direction'], quiet=True)
    found = {
        (row['property'], row['encoder'], row['than'], row['at']): row
        for row in result['differences']
    }
    scores = {
        name: [
            row
            for row in result['scores']
            if (row['encoder'], row['property'], row['features'])
            == (name, 'direction', 'trained')
        ]
        for name in ('moving', 'still')
    }
    assert len(found) == 2 * 6 * 2 - 2  # moving has no area of its own
    more = found['direction', 'moving', 'still', 'area']
    assert more['blocks'] == [1, 1] and more['low'] > 0.3
    gap = [scores[name][0]['score'] for name in ('moving', 'still')]
    assert more['difference'] == pytest.approx(gap[0] - gap[1])
    assert more['low'] < more['difference'] < more['high']
    # Stimuli that are hard for one are hard for the same encoder again.
    for at in ('area', 'best'):
        same = found['orientation', 'still', 'again', at]
        assert same['difference'] == same['low'] == same['high'] == 0
    gained = found['orientation', 'still', 'random', 'best']
    assert gained['low'] > 0


@pytest.mark.parametrize('kind', ['class', 'angle', 'number'])
def test_readout_finds_what_is_there_and_nothing_in_shuffled_labels(kind):
    rng = np.random.default_rng(0)
    count = 160
    labels = {
        'class': np.arange(count) % 4.0,
        'angle': rng.uniform(0, 2 * np.pi, count),
        'number': rng.normal(size=count),
    }[kind]
    told = {
        'class': labels[:, None] == np.arange(4),
        'angle': np.stack([np.cos(labels), np.sin(labels)], 1),
        'number': labels[:, None],
    }[kind]
    x = rng.normal(size=(count, 40)) * 0.1
    x[:, : told.shape[1]] += 5 * told
    nominal = 0.25 if kind == 'class' else 0.0

    def score(labels: np.ndarray) -> Readout:
        parts = (labels[:100], labels[100:])
        return read_out(x[:100], x[100:], parts, kind=kind)

    found = score(labels)
    assert found.low <= found.score <= found.high
    assert found.low > 0.95 and abs(found.chance - nominal) < 0.05
    shuffled = score(rng.permutation(labels))
    assert shuffled.low <= nominal + 1e-3
    assert shuffled.high >= nominal - 1e-3


@pytest.mark.parametrize('kind', ['class', 'angle', 'number'])
def test_the_penalty_is_that_of_leaving_out_one_stimulus(kind):
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(16, 30)), rng.normal(size=(40, 30))
    told = [part[:, 0] + 0.5 * part[:, 1] for part in (x, y)]
    labels = tuple(part > 0 if kind == 'class' else part for part in told)
    scaler = StandardScaler().fit(x)
    x, y = scaler.transform(x), scaler.transform(y)
    wanted, truth = (
        {
            'class': np.stack([part == 0, part == 1], 1),
            'angle': np.stack([np.cos(part), np.sin(part)], 1),
            'number': part[:, None],
        }[kind].astype(float)
        for part in labels
    )

    def error(found: np.ndarray, truth: np.ndarray) -> float:
        if kind == 'class':
            return (found.argmax(1) != truth.argmax(1)).mean()
        return ((found - truth) ** 2).mean()

    tried = []
    for penalty in ALPHAS:
        model = Ridge(alpha=penalty)
        inner = cross_val_predict(model, x, wanted, cv=LeaveOneOut())
        found = model.fit(x, wanted).predict(y).reshape(truth.shape)
        inner = inner.reshape(wanted.shape)
        tried.append((error(inner, wanted), error(found, truth)))
    least = min(tried, key=lambda pair: pair[0])[1]
    total = 1 if kind == 'class' else error(wanted.mean(0), truth)
    found = read_out(x, y, labels, kind=kind).score
    assert found == pytest.approx(1 - least / total)


def test_cka_is_that_of_the_paper():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(30, 5))
    y = x[:, :3] @ rng.normal(size=(3, 4)) + rng.normal(size=(30, 4))

    def hsic(k: np.ndarray, m: np.ndarray) -> float:
        h = np.eye(30) - np.ones((30, 30)) / 30
        return np.trace(k @ h @ m @ h) / 29**2

    k, m = x @ x.T, y @ y.T
    expected = hsic(k, m) / math.sqrt(hsic(k, k) * hsic(m, m))
    turn = np.linalg.qr(rng.normal(size=(5, 5)))[0]
    found = cka([x, y, 3 * x @ turn + 1])
    np.testing.assert_allclose(found[0], [1, expected, 1])
    np.testing.assert_allclose(found, found.T)


def test_curves_are_of_other_stimuli_than_those_that_choose_channels():
    rng = np.random.default_rng(0)
    angles = tuple(rng.uniform(0, 2 * np.pi, (2, 120)))
    noise = rng.normal(size=(2, 120, 200))
    found = tuning_curves(*noise, angles)
    assert len(found) == 6 and len(found[0]['curve']) == 8
    assert np.mean([row['selectivity'] for row in found]) < 0.1
    noise[:, :, 7] = np.sin(angles)
    top = tuning_curves(*noise, angles)[0]
    assert top['channel'] == 7 and top['selectivity'] > 0.6
    assert top['curve'][1] > 0.5 and top['curve'][6] < -0.5


def test_a_joint_run_from_the_command_line(
    run, tmp_path, bimm, browser, capsys
):
    source = tmp_path / '<b>run & co'
    source.mkdir()
    shutil.copy(run / 'epoch_1.pth', source)
    out = tmp_path / 'out'
    words = ('tuning', source, '--out', out, '--number=16', '--device=cpu')
    words += ('--property=orientation', '--property=direction', '--quiet')
    bimm(*words, '--dry-run')
    assert not out.exists()
    bimm(*words)
    assert str(out / 'report.html') in capsys.readouterr().out
    maps = {path.name: path.read_text() for path in out.glob('*.svg')}
    assert {*maps} == {
        f'{kind}_{name}.svg'
        for kind in ('map', 'gain')
        for name in ('ventral', 'dorsal')
    }
    assert 'direction · MT' in maps['map_dorsal.svg']
    found = json.loads((out / 'tuning.json').read_text())
    assert {*found['encoders']} == {'ventral', 'dorsal'}
    assert found['encoders']['dorsal']['areas'] == {'V4': 2}
    rows = [
        (row['encoder'], row['property'], row['block'])
        for row in found['scores']
        if row['features'] == 'random'
    ]
    both = [('ventral', 'orientation'), ('dorsal', 'orientation')]
    both += [('dorsal', 'direction')]
    assert rows == [(*pair, block) for pair in both for block in (1, 2)]
    assert found['cka']['names'][0] == 'ventral 1'
    assert np.shape(found['cka']['values']) == (4, 4)
    assert 'middle frame' in found['notes'][0]
    # In memory the same numbers come out.
    encoders = {
        name: bimm_mm.load_encoder(source, branch=name, device='cpu')
        for name in ('ventral', 'dorsal')
    }
    again = bimm_mm.tuning(
        encoders, out=None, properties=['orientation', 'direction'], number=16
    )
    assert json.loads(json.dumps(again['scores'])) == found['scores']
    page = browser.new_page(viewport={'width': 390, 'height': 900})
    page.goto((out / 'report.html').as_uri())
    wide = page.evaluate('document.documentElement.scrollWidth')
    assert wide == 390
    assert page.locator('img').count() >= 6
    assert '<b>run & co' in page.title()
    assert 'orientation' in page.locator('table').first.inner_text()


def test_an_encoder_of_images_sees_no_motion(tmp_path):
    options = dict(arch=dict(embed_dims=8, depth=1, num_heads=1), img_size=32)
    encoder = Encoder(options)
    still = {x for x in PROPERTIES if PROPERTIES[x].area != 'MT'}
    study = Study({'encoder': encoder}, number=16, seed=0)
    assert {*study.visible(None)} == still
    result = bimm_mm.tuning(encoder, out=None, properties=['hue'], number=16)
    assert len(result['notes']) == 1 and encoder.training
    names = ('a b', 'a-b', 'a_b')
    both = dict.fromkeys(names, encoder)
    bimm_mm.tuning(both, out=tmp_path, properties=['hue'], number=16)
    assert len([*tmp_path.glob('*.svg')]) == 2 * len(names)
    assert {row['features'] for row in result['scores']} == {
        'trained',
        'random',
        'pixels',
    }
    with pytest.raises(ValueError, match="'direction' is motion, and the enc"):
        bimm_mm.tuning(encoder, out=None, properties=['direction'])
    encoder.backbone.blocks[0].mlp.fc2.weight.data.fill_(math.nan)
    with pytest.raises(ValueError, match='trained features of encoder after'):
        bimm_mm.tuning(encoder, out=None, properties=['hue'], number=16)
    other = Encoder(dict(options, img_size=64))
    with pytest.raises(ValueError, match='give encoders of one size'):
        Study({'one': encoder, 'two': other}, number=16, seed=0)


def test_mistakes_are_one_sentence(run, tmp_path, mistake):
    (tmp_path / 'file').write_text('no checkpoint')
    for words, text in (
        ((run, '--property=taste'), "property='taste' is unknown, choose"),
        ((run, run), 'two checkpoints are called'),
        ((tmp_path / 'none', '--property=taste'), "property='taste' is unk"),
        ((run, '--number=3'), 'number=3: give 16 stimuli or more'),
        ((tmp_path / 'none',), 'none'),
        ((tmp_path / 'file',), 'file'),
        ((run, '--device=gpu'), "device 'gpu' cannot be used"),
    ):
        out = tmp_path / 'out'
        assert text in mistake('tuning', *words, '--out', out)
        assert not out.exists()
