"""Hooks and metric when two processes train."""

from __future__ import annotations

import json

import pytest

from tests.engine import one_rank
from tests.processes import Started


@pytest.fixture(scope='module')
def answers(tmp_path_factory) -> list[dict]:
    """What one_rank.py says on either rank."""
    folder = tmp_path_factory.mktemp('ranks')
    two = Started(one_rank.answer, folder, log=folder / 'said.txt', ranks=2)
    assert two.wait() == [0, 0], two.said
    paths = [folder / f'{rank}.json' for rank in range(2)]
    return [json.loads(path.read_text()) for path in paths]


def test_every_rank_stops_and_names_the_guilty_one(answers):
    for answer in answers:
        assert answer['sound'] == ''
        assert 'iteration 7' in answer['bad']
        assert 'rank 1: loss_V1 = nan' in answer['bad']
        assert 'clip_of_1.mp4' in answer['bad']
        assert 'clip_of_0.mp4' not in answer['bad']


def test_every_rank_ends_where_the_first_finds_a_wrong_label(answers):
    for answer in answers:
        assert 'a.mp4 has label 7' in answer['labels']


def test_every_rank_has_the_metrics_of_all(answers):
    # Targets 1, 2, 3, 6: mean 3, variance 3.5, mean square 12.5.
    wanted = {'V1/mse': 12.5, 'V1/mean_mse': 3.5, 'V1/ratio': 12.5 / 3.5}
    for answer in answers:
        assert answer['metrics'] == pytest.approx(wanted)


def test_rank_0_measures_and_no_loss_changes(answers):
    for answer in answers:
        assert len(answer['plain']) == 4
        assert answer['diagnosed'] == answer['plain']
    assert answers[0]['plain'] != answers[1]['plain']


def test_whoever_loses_another_process_says_so(tmp_path):
    two = Started(one_rank.lose, log=tmp_path / 'said.txt', ranks=2)
    assert two.wait() == [1, 0], two.said
    assert 'another process of this run ended' in two.said
