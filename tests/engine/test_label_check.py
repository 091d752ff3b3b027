"""Classes of datasets and models that do not agree."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from mmengine.dataset import BaseDataset
from torch import nn
from torch.utils.data import DataLoader

from bimm_mm.datasets import DatasetWrapper
from bimm_mm.engine import LabelCheckHook


class Listed(BaseDataset):
    """Labels as a list file of mmaction2 gives them."""

    def __init__(self, labels, classes=None):
        self.labels = labels
        super().__init__(
            ann_file='train.txt',
            metainfo=dict(classes=classes) if classes else None,
        )

    def load_data_list(self):
        return [
            dict(filename=f'{index}.mp4', label=label)
            for index, label in enumerate(self.labels)
        ]


class Model(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.rpn_head = nn.Linear(1, 1)
        self.rpn_head.num_classes = 1
        self.cls_head = nn.Linear(1, num_classes)
        self.cls_head.num_classes = num_classes


def check(dataset, num_classes, val=None, **options):
    runner = SimpleNamespace(
        model=Model(num_classes),
        train_dataloader=DataLoader(dataset),
        val_loop=val,
        val_dataloader=val and DataLoader(val),
        test_dataloader=DataLoader(dataset),
    )
    LabelCheckHook(**options).before_train(runner)
    return runner


@pytest.mark.parametrize('wrap', [lambda dataset: dataset, DatasetWrapper])
def test_label_beyond_the_head_names_file_label_and_head(wrap):
    check(wrap(Listed([0, 1, 2])), 3)
    with pytest.raises(
        ValueError, match=r'train_dataloader: 2.mp4 has label 3.*cls_head.*3'
    ):
        check(wrap(Listed([0, 1, 3])), 3)
    with pytest.raises(ValueError, match='label -1'):
        check(wrap(Listed([0, -1, 2])), 3)


def test_validation_and_test_data_are_checked():
    with pytest.raises(ValueError, match=r'val_dataloader: 0.mp4 has label 7'):
        check(Listed([0, 1, 2]), 3, val=Listed([7]))
    # A validation set need not have every class.
    runner = check(Listed([0, 1, 2]), 3, val=Listed([0]))
    runner.test_dataloader = DataLoader(Listed([3]))
    with pytest.raises(ValueError, match=r'test_dataloader: 0.mp4'):
        LabelCheckHook().before_test(runner)


def test_head_with_too_many_classes_is_told():
    with pytest.raises(ValueError, match=r'train.txt end with 2.*is 400'):
        check(Listed([0, 1, 2]), 400)
    check(Listed([0, 1, 2]), 400, allow_unused=True)


def test_class_names_are_counted():
    with pytest.raises(ValueError, match=r'metainfo.classes has 2 names'):
        check(Listed([0, 1, 2], classes=('a', 'b')), 3)


def test_names_unknown_to_the_annotations_are_told():
    dataset = Listed([0, 1], classes=('fig', 'date'))
    dataset.cat_ids = [1]  # as mmdet's CocoDataset: those it found
    with pytest.raises(ValueError, match=r'knows 1 of the 2 names'):
        check(dataset, 2)


def test_mixing_with_another_number_of_classes_is_told():
    runner = check(Listed([0, 1, 2]), 3)
    augments = [SimpleNamespace(num_classes=400), None]
    runner.model.data_preprocessor = SimpleNamespace(
        blending=SimpleNamespace(augments=augments)
    )
    with pytest.raises(ValueError, match=r'blending.*is 400'):
        LabelCheckHook().before_train(runner)
