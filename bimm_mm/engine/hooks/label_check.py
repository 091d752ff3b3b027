"""Labels and heads that do not agree, found before training."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import Dataset

from bimm_mm.registry import HOOKS
from bimm_mm.utils.video import find_label, find_path


@HOOKS.register_module()
class LabelCheckHook(Hook):
    """Compares the classes of the datasets with those of the model.

    A label beyond the head ends in an assertion on the device that names
    nothing, a head with too many classes in a worse result that nobody
    explains, class names that the annotations do not know in an empty
    training set. This hook raises ``ValueError`` before the first step.

    Args:
        allow_unused: Accept training sets without any sample of the last
            classes, such as subsets.
    """

    def __init__(self, allow_unused: bool = False) -> None:
        self.allow_unused = allow_unused

    def before_train(self, runner: Runner) -> None:
        """Check training and validation data."""
        loaders = {'train': runner.train_dataloader}
        if runner.val_loop is not None:
            loaders['val'] = runner.val_dataloader
        for name, loader in loaders.items():
            self._check(runner.model, loader.dataset, f'{name}_dataloader')

    def before_test(self, runner: Runner) -> None:
        """Check test data."""
        dataset = runner.test_dataloader.dataset
        self._check(runner.model, dataset, 'test_dataloader')

    def _check(self, model: nn.Module, dataset: Dataset, where: str) -> None:
        inner: Any = model.module if is_model_wrapper(model) else model
        heads = dict(_heads(inner))
        labels = list(_labels(dataset))
        for head, count in heads.items():
            for label, path in labels:
                if not 0 <= label < count:
                    raise ValueError(
                        f'{where}: {path} has label {label}, but '
                        f'{head}.num_classes of the model is {count}, so '
                        f'labels are 0..{count - 1}: change the config or the '
                        'list'
                    )
        counts = list(_class_counts(dataset))
        if labels and where.startswith('train') and not self.allow_unused:
            counts.append(_used(labels, dataset))
        for classes, what in counts:
            for head, count in heads.items():
                if count != classes:
                    raise ValueError(
                        f'{where}: {what}, but {head}.num_classes of the '
                        f'model is {count}: change the config or the '
                        'annotations'
                    )


def _class_counts(dataset: Dataset) -> Iterator[tuple[int, str]]:
    """Number of classes by each source that knows it, and its words."""
    inner = _innermost(dataset)
    names = getattr(dataset, 'metainfo', {}).get('classes')
    if names is not None:
        yield len(names), f'metainfo.classes has {len(names)} names'
        # mmdet's CocoDataset: the names that it found.
        found = getattr(inner, 'cat_ids', names)
        yield (
            len(found),
            f'{_source(inner)} knows {len(found)} of the {len(names)} names '
            'in metainfo.classes',
        )
    # mmaction2's AVADataset, whose background is a class as in its head.
    count = getattr(inner, 'num_classes', None)
    if isinstance(count, int):
        yield count, f'num_classes of the dataset is {count}'


def _used(labels: list[tuple[int, str]], dataset: Dataset) -> tuple[int, str]:
    used = max(label for label, _ in labels) + 1
    return used, (
        f'the labels of {_source(_innermost(dataset))} end with {used - 1} '
        '(set allow_unused=True of bimm_mm.LabelCheckHook if the last classes '
        'have no sample on purpose)'
    )


def _heads(model: nn.Module) -> Iterator[tuple[str, int]]:
    """Parts of the model that have a number of classes, by name."""
    for name, module in model.named_modules():
        count = getattr(module, 'num_classes', None)
        # A region proposal network tells objects from background only.
        if isinstance(count, int) and 'rpn_head' not in name:
            yield name or type(model).__name__, count
    preprocessor = getattr(model, 'data_preprocessor', None)
    blending = getattr(preprocessor, 'blending', None)
    for mixing in getattr(blending, 'augments', []):
        # mmaction2 fills up with None if the shares do not add up to 1.
        if mixing is not None:
            name = f'data_preprocessor.blending.{type(mixing).__name__}'
            yield name, mixing.num_classes


def _labels(dataset: Any) -> Iterator[tuple[int, str]]:
    """Label and path of every sample of a classification dataset."""
    if not hasattr(dataset, 'get_data_info'):
        return
    for index in range(len(dataset)):
        info: dict[str, Any] = dataset.get_data_info(index)
        label = find_label(info)
        if label is None:
            return
        yield label, find_path(info) or 'a sample'


def _innermost(dataset: Dataset) -> Dataset:
    while hasattr(dataset, 'dataset'):
        dataset = dataset.dataset
    return dataset


def _source(dataset: Dataset) -> str:
    return getattr(dataset, 'ann_file', '') or type(dataset).__name__
