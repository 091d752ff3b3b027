"""Classes of datasets and models that do not agree."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from mmaction.evaluation import AccMetric
from mmengine.dataset import BaseDataset, RepeatDataset
from mmengine.evaluator import Evaluator
from mmpretrain.datasets import CustomDataset
from mmpretrain.evaluation import Accuracy
from torch import nn
from torch.utils.data import DataLoader

from bimm_mm.datasets import DatasetWrapper
from bimm_mm.engine import LabelCheckHook


class Listed(BaseDataset):
    """Labels as a list file of mmaction2 gives them."""

    def __init__(self, labels, classes=None, paths=None):
        self.labels = labels
        self.paths = paths or [f'{i}.mp4' for i in range(len(labels))]
        super().__init__(
            ann_file='train.txt',
            metainfo=dict(classes=classes) if classes else None,
            serialize_data=False,
        )

    def load_data_list(self):
        return [
            dict(filename=path, label=label)
            for path, label in zip(self.paths, self.labels, strict=True)
        ]


class Model(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.rpn_head = nn.Linear(1, 1)
        self.rpn_head.num_classes = 1
        self.roi_head = nn.Module()
        self.roi_head.cls_head = nn.Linear(1, num_classes)
        self.roi_head.cls_head.num_classes = num_classes


def check(dataset, num_classes, val=None, evaluator=None, **options):
    runner = SimpleNamespace(
        model=Model(num_classes),
        train_dataloader=DataLoader(dataset),
        val_loop=val and SimpleNamespace(evaluator=evaluator),
        val_dataloader=val and DataLoader(val),
        test_dataloader=DataLoader(dataset),
    )
    LabelCheckHook(**options).before_train(runner)
    return runner


@pytest.mark.parametrize('wrap', [lambda dataset: dataset, DatasetWrapper])
@pytest.mark.parametrize(
    ('labels', 'classes', 'words'),
    [
        (
            [0, 1, 3],
            3,
            r'train_dataloader: 2.mp4 has label 3.*roi_head.cls_head.*3',
        ),
        ([0, -1, 2], 3, 'label -1'),
        ([0, 1, 2], 400, r'train.txt end with 2.*is 400'),
        ([0, 2, 3], 4, r'no sample of 1 class.*\[1\]'),
    ],
)
def test_labels_that_are_not_the_heads_are_told(wrap, labels, classes, words):
    check(wrap(Listed([0, 1, 2])), 3)
    with pytest.raises(ValueError, match=words):
        check(wrap(Listed(labels)), classes)


def test_validation_and_test_data_are_checked():
    with pytest.raises(ValueError, match=r'val_dataloader: 0.mp4 has label 7'):
        check(Listed([0, 1, 2]), 3, val=Listed([7]))
    # A validation set need not have every class.
    runner = check(Listed([0, 1, 2]), 3, val=Listed([0]))
    runner.test_dataloader = DataLoader(Listed([3]))
    with pytest.raises(ValueError, match=r'test_dataloader: 0.mp4'):
        LabelCheckHook().before_test(runner)


def test_classes_may_be_unused_on_purpose():
    check(Listed([0, 1, 2]), 400, allow_unused=True)
    check(Listed([0, 2, 3]), 4, allow_unused=True)


def test_class_names_are_counted():
    with pytest.raises(ValueError, match=r'metainfo.classes has 2 names'):
        check(Listed([0, 1, 2], classes=('a', 'b')), 3)


def test_names_unknown_to_the_annotations_are_told():
    dataset = Listed([0, 1], classes=('fig', 'date'))
    dataset.cat_ids = [1]  # as mmdet's CocoDataset: those it found
    with pytest.raises(ValueError, match=r'knows 1 of the 2 names'):
        check(dataset, 2)


@pytest.fixture
def folders(tmp_path):
    """Makes a folder of class folders with a picture each; returns it."""

    def make(part, *names):
        for name in names:
            (tmp_path / part / name).mkdir(parents=True)
            (tmp_path / part / name / f'{part}.jpg').touch()
        return CustomDataset(str(tmp_path / part), serialize_data=False)

    return make


def test_class_folders_of_training_and_validation_are_compared(folders):
    train = folders('train', 'Cow', 'ant', 'bee')
    check(train, 3, val=folders('same', 'Cow', 'ant', 'bee'))
    with pytest.raises(ValueError, match=r"'ant' is 1 there and 0 here") as e:
        check(train, 3, val=folders('capital', 'ant', 'bee', 'cow'))
    assert 'train/)' in str(e.value) and 'capital/)' in str(e.value)
    with pytest.raises(ValueError, match=r"2 is 'bee' there and 'stray' here"):
        check(train, 3, val=folders('other', 'Cow', 'ant', 'stray'))
    with pytest.raises(ValueError, match=r"'bee' is 2 there and 1 here"):
        check(train, 3, val=folders('fewer', 'ant', 'bee'), allow_unused=True)


def test_class_names_are_compared_with_the_folders(tmp_path, folders):
    folders('data', 'n01_ant', 'n02_bee')
    data = str(tmp_path / 'data')
    # Other words for the classes are fine.
    check(CustomDataset(data, metainfo=dict(classes=['ant', 'bee'])), 2)
    wrong = CustomDataset(data, metainfo=dict(classes=['N02 bee', 'N01 ant']))
    with pytest.raises(ValueError, match=r"metainfo\.classes.*n02 bee' is 0"):
        check(wrong, 2)


def test_folders_in_lists_are_compared():
    train = Listed([0, 1, 2], paths=['a/1.mp4', 'b/2.mp4', 'c/3.mp4'])
    val = ['a/4.mp4', 'c/5.mp4']
    check(train, 3, val=Listed([0, 2], paths=val))
    with pytest.raises(ValueError, match=r"'c' is 2 there and 1 here"):
        check(train, 3, val=Listed([0, 1], paths=val))
    # Folders of something else than classes.
    mixed = Listed([0, 1, 2, 0], paths=['a/1', 'b/2', 'c/3', 'c/4'])
    check(mixed, 3, val=Listed([0, 1], paths=val))


@pytest.mark.parametrize('foreign', [False, True])
def test_classes_of_the_checkpoint_are_compared_in_testing(foreign):
    classes = ['ant', 'bee']
    hook = LabelCheckHook()
    runner = check(Listed([0, 1], classes), 2)
    hook.before_train(runner)
    checkpoint = {'meta': {'dataset_meta': {'classes': classes}}}
    if not foreign:
        checkpoint = {'meta': {}}
        hook.before_save_checkpoint(runner, checkpoint)
    hook = LabelCheckHook()
    hook.after_load_checkpoint(runner, checkpoint)
    hook.before_test(runner)
    runner.test_dataloader = DataLoader(Listed([0, 1], ['bee', 'ant']))
    with pytest.raises(ValueError, match=r"of training and.*'ant' is 0 there"):
        hook.before_test(runner)
    # Training goes on from anything.
    check(Listed([0, 1], ['bee', 'ant']), 2)


def test_files_that_occur_twice_are_told(warnings):
    paths = ['a.mp4', 'b.mp4', 'a.mp4']
    check(RepeatDataset(Listed([0, 1]), 2), 2)
    assert not warnings()
    check(Listed([0, 1, 0], paths=paths), 2)
    assert 'names 1 of its files more than once' in warnings()
    with pytest.raises(ValueError, match=r'a\.mp4 has the labels 0 and 1'):
        check(Listed([0, 1, 1], paths=paths), 2)


def test_validation_on_training_samples_is_told(warnings):
    train = Listed([0, 1], paths=['a.mp4', 'b.mp4'])
    check(train, 2, val=Listed([0], paths=['c.mp4']))
    assert not warnings()
    check(train, 2, val=Listed([0, 1, 1], paths=['./a.mp4', 'c.mp4', 'd']))
    assert '1 OF 3 SAMPLES OF val_dataloader' in warnings()
    with pytest.raises(ValueError, match=r'b\.mp4 has label 1 in .* but 0 in'):
        check(train, 2, val=Listed([0, 1], paths=['./b.mp4', 'c.mp4']))


def test_more_guesses_than_classes_are_told(warnings):
    data = dict(dataset=Listed([0, 1, 2, 3]), num_classes=4)
    data['val'] = Listed([0], paths=['v.mp4'])
    check(**data, evaluator=Evaluator([Accuracy(topk=(1, 4))]))
    with pytest.raises(ValueError, match=r'best 5 guesses.*4 classes: set'):
        check(**data, evaluator=Evaluator([Accuracy(topk=(1, 5))]))
    assert not warnings()
    check(**data, evaluator=Evaluator([AccMetric()]))
    assert 'top-5 is always 1' in warnings()
