"""Options contradict nothing, and the device is the best there is."""

from __future__ import annotations

import argparse

import pytest
import torch

from bimm_mm.apis import (
    Extraction,
    FeatureOptions,
    add_feature_arguments,
    feature_options,
)


@pytest.mark.parametrize(
    ('wrong', 'message'),
    [
        (dict(level='token', pool='cls'), 'pool=cls with level=token'),
        (dict(level='video'), "unknown level 'video'.*clip, frame, token"),
        (dict(pool='max'), "unknown pool 'max'"),
        (dict(split='all'), "unknown split 'all'"),
        (dict(kind='flow'), "unknown kind 'flow'"),
        (dict(pipeline='train'), "unknown pipeline 'train'"),
        (dict(kind='middle-frame', blocks=(1,)), 'for the encoder'),
        (dict(batch_size=0), 'batch_size is 0'),
        (dict(workers=-1), 'workers is -1'),
    ],
)
def test_options_that_make_no_sense_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        FeatureOptions(**wrong)


def parsed(*flags: str) -> FeatureOptions:
    parser = argparse.ArgumentParser()
    add_feature_arguments(parser)
    return feature_options(parser.parse_args(flags))


@pytest.mark.parametrize(
    ('flags', 'gpu', 'device'),
    [
        ([], True, 'cuda'),
        ([], False, 'cpu'),
        (['--device', 'cpu'], True, 'cpu'),
        (['--device', 'cuda:0'], True, 'cuda:0'),
    ],
)
def test_encoder_goes_to_the_gpu_if_there_is_one(
    cfg, monkeypatch, flags, gpu, device
):
    # Options come first: the choice is made when they are used.
    options, moved = parsed(*flags), {}
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: gpu)
    # The logger of mmengine, if it is new, looks for it.
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: int(gpu))
    monkeypatch.setattr(
        torch.nn.Module,
        'to',
        lambda self, where: moved.update({type(self).__name__: where}) or self,
    )
    features = Extraction(cfg, None, options).features
    assert features.device == torch.device(device)
    assert moved == {
        'ActionDataPreprocessor': torch.device(device),
        'BIMMVisionTransformer': torch.device(device),
    }


def test_gpu_asked_for_is_never_replaced(cfg, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    with pytest.raises(ValueError, match='torch sees no GPU; use cpu'):
        Extraction(cfg, None, parsed('--device', 'cuda'))


def test_help_tells_the_device():
    parser = argparse.ArgumentParser()
    add_feature_arguments(parser)
    said = ' '.join(parser.format_help().split())
    assert 'default: cuda if there is one, else cpu' in said
