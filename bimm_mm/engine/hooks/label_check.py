"""Labels and names that do not mean the same on both sides."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations_with_replacement, product
from os.path import abspath, basename, dirname
from typing import Any, NamedTuple

import numpy as np
from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import DataLoader

from bimm_mm.datasets.transforms.formatting import find_label, find_path
from bimm_mm.datasets.wrappers import innermost
from bimm_mm.engine.annotations import check_annotations, warn
from bimm_mm.registry import HOOKS

_UNKNOWN = -1  # what no file has as its class
# So many names or classes are named.
_NAMED = 5
# Numbers of classes by name, by where the names come from.
Names = dict[str, dict[str, int]]
_LISTED = 'the folders in the list'
_UNUSED = (
    '(set allow_unused=True of bimm_mm.LabelCheckHook if they have no sample '
    'on purpose)'
)


class _Data(NamedTuple):
    """A dataset, and what it says of itself."""

    where: str  # key of its dataloader
    dataset: Any  # with its wrappers
    # Path and class of every sample; None where it has no class or several.
    samples: list[tuple[str, int | None]]
    names: Names  # of the classes, by source

    @property
    def source(self) -> str:
        """File or folder of the annotations."""
        inner = innermost(self.dataset)
        prefix = getattr(inner, 'data_prefix', None) or {}
        folder = next(iter(prefix.values()), '')
        return getattr(inner, 'ann_file', '') or folder or type(inner).__name__

    def __str__(self) -> str:
        return f'{self.where} ({self.source})'


@HOOKS.register_module()
class LabelCheckHook(Hook):
    """Compares classes, names and annotations before the first step.

    A label beyond the head ends in an assertion on the device that names
    nothing; a head with too many classes, folders of training and validation
    that number the classes differently, masks that count from 0 instead of 1
    or boxes in shares of the side end in a worse result that nobody explains.
    This hook raises ``ValueError`` in all processes; the first does the work.

    Args:
        allow_unused: Accept training sets without any sample of some classes,
            such as subsets.
    """

    def __init__(self, allow_unused: bool = False) -> None:
        self.allow_unused = allow_unused
        self._trained: Names = {}  # what the model was trained for

    def before_train(self, runner: Runner) -> None:
        """Check training and validation data."""
        loaders = {'train_dataloader': runner.train_dataloader}
        if runner.val_loop is not None:
            loaders['val_dataloader'] = runner.val_dataloader
        self._trained = {}
        self._check(runner.model, loaders, runner.val_loop)

    def before_test(self, runner: Runner) -> None:
        """Check test data."""
        loaders = {'test_dataloader': runner.test_dataloader}
        self._check(runner.model, loaders, getattr(runner, 'test_loop', None))

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Note the classes that the model was trained for."""
        meta = checkpoint.get('meta') or {}
        classes = (meta.get('dataset_meta') or {}).get('classes')
        self._trained = meta.get('class_names') or _numbered(classes)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Note them for tests of this model."""
        checkpoint['meta']['class_names'] = self._trained

    def _check(
        self, model: nn.Module, loaders: Mapping[str, DataLoader], loop: Any
    ) -> None:
        """Check in the first process; raise in all."""
        fault: list[Exception | None] = [None]
        if is_main_process():
            try:
                self._compare(model, loaders, getattr(loop, 'evaluator', None))
            except Exception as error:
                fault = [error]
        broadcast_object_list(fault)
        if fault[0] is not None:
            raise fault[0]

    def _compare(
        self,
        model: nn.Module,
        loaders: Mapping[str, DataLoader],
        evaluator: Any,
    ) -> None:
        inner: Any = model.module if is_model_wrapper(model) else model
        heads = dict(_heads(inner))
        data = [
            _describe(name, each.dataset) for name, each in loaders.items()
        ]
        # Those of the checkpoint in testing.
        sides = [('training', self._trained)]
        sides += [(str(each), each.names) for each in data]
        for each in data:
            _check_labels(each, heads)
        for one, other in combinations_with_replacement(sides, 2):
            _check_names(*one, *other)
        for each in data[1:]:
            _warn_of_overlap(data[0], each)
        _check_topk(evaluator, heads)
        for each in data:
            all_used = each.where[:5] == 'train' and not self.allow_unused
            _check_counts(each, heads, all_used)
            dataset = innermost(each.dataset)
            check_annotations(dataset, each.where, all_used=all_used)
        if data[0].where.startswith('train'):
            self._trained = data[0].names


def _describe(where: str, dataset: Any) -> _Data:
    samples: list[tuple[str, int | None]] = []
    known = hasattr(dataset, 'get_data_info')
    for index in range(len(dataset) if known else 0):
        info = dataset.get_data_info(index)
        samples.append((find_path(info) or f'#{index}', find_label(info)))
    names = _numbered(getattr(dataset, 'metainfo', {}).get('classes'))
    if folders := getattr(innermost(dataset), 'folder_to_idx', None):
        names['the class folders'] = dict(folders)
    # A folder per class and a class per folder.
    pairs = {(basename(dirname(path)), label) for path, label in samples}
    listed = {folder: label for folder, label in pairs if label is not None}
    if 1 < len(pairs) == len(listed) == len(set(listed.values())):
        names[_LISTED] = listed
    return _Data(where, dataset, samples, names)


def _numbered(classes: Any) -> Names:
    if not isinstance(classes, (list, tuple)):
        return {}
    return {'metainfo.classes': {str(x): i for i, x in enumerate(classes)}}


def _check_counts(
    data: _Data, heads: Mapping[str, int], all_used: bool
) -> None:
    """Compare numbers of classes, and those used, with the model."""
    counts = list(_class_counts(data))
    used = {label for _, label in data.samples if label is not None}
    if all_used and used:
        words = f'the labels of {data.source} end with {max(used)} {_UNUSED}'
        counts.append((max(used) + 1, words))
    for (count, what), (head, number) in product(counts, heads.items()):
        if number != count:
            raise ValueError(
                f'{data.where}: {what}, but {head}.num_classes of the model '
                f'is {number}: change the config or the annotations'
            )
    unused = sorted(set(range(max(used, default=0))) - used)
    if all_used and unused:
        raise ValueError(
            f'{data}: no sample of {len(unused)} class(es), such as '
            f'{unused[:_NAMED]} {_UNUSED}: correct the list or the config'
        )


def _class_counts(data: _Data) -> Iterator[tuple[int, str]]:
    """Number of classes by each source that knows it, and its words."""
    inner = innermost(data.dataset)
    names = getattr(data.dataset, 'metainfo', {}).get('classes')
    if names is not None:
        yield len(names), f'metainfo.classes has {len(names)} names'
        # mmdet's CocoDataset: the names that it found.
        found = len(getattr(inner, 'cat_ids', names))
        words = f'knows {found} of the {len(names)} names in metainfo.classes'
        yield found, f'{data.source} {words}'
    # mmaction2's AVADataset, whose background is a class as in its head.
    count = getattr(inner, 'num_classes', None)
    if isinstance(count, int):
        yield count, f'num_classes of the dataset is {count}'


def _check_names(where: str, names: Names, other: str, others: Names) -> None:
    """Compare every source of names on one side with those on the other.

    Folders may have other names than the classes, but where both have a name,
    it is of the same class; and training and validation have the same names.
    """
    for (kind, mine), (other_kind, theirs) in product(
        names.items(), others.items()
    ):
        same_kind = kind == other_kind != _LISTED
        if clashes := list(_clashes(mine, theirs, same_kind)):
            raise ValueError(
                f'{kind} of {where} and {other_kind} of {other} do not '
                f'agree about {len(clashes)} class(es): '
                f'{", ".join(clashes[:_NAMED])}: name and number the '
                'classes alike in folders, lists and metainfo.classes'
            )


def _clashes(
    mine: dict[str, int], theirs: dict[str, int], same_kind: bool
) -> Iterator[str]:
    mine, theirs = _plain(mine), _plain(theirs)
    for name, label in mine.items():
        if theirs.get(name, label) != label:
            yield f'{name!r} is {label} there and {theirs[name]} here'
    named = {label: name for name, label in theirs.items()}
    for name, label in mine.items() if same_kind else ():
        if label in named and name not in theirs and named[label] not in mine:
            yield f'{label} is {name!r} there and {named[label]!r} here'


def _plain(names: dict[str, int]) -> dict[str, int]:
    """Without capitals and underscores, if names stay different."""
    plain = {n.casefold().replace('_', ' '): i for n, i in names.items()}
    return plain if len(plain) == len(names) else names


def _check_labels(data: _Data, heads: Mapping[str, int]) -> None:
    """Labels within every head; one label for a file."""
    known = [(p, label) for p, label in data.samples if label is not None]
    for (path, label), (head, count) in product(known, heads.items()):
        if not 0 <= label < count:
            raise ValueError(
                f'{data.where}: {path} has label {label}, but '
                f'{head}.num_classes of the model is {count}, so labels are '
                f'0..{count - 1}: change the config or the list'
            )
    labels = dict(known)
    for path, label in known:
        if label != labels[path]:
            raise ValueError(
                f'{data}: {path} has the labels {label} and {labels[path]}: '
                'correct the list'
            )
    again = len(known) - len(labels)
    if again and len(data.samples) == len(innermost(data.dataset)):
        warn(f'{data} names {again} of its files more than once')


def _warn_of_overlap(train: _Data, other: _Data) -> None:
    known = {abspath(path): label for path, label in train.samples}
    shared = 0
    for path, label in other.samples:
        mine = known.get(abspath(path), _UNKNOWN)
        shared += mine != _UNKNOWN
        if None not in (mine, label) and mine not in (label, _UNKNOWN):
            raise ValueError(
                f'{path} has label {mine} in {train}, but {label} in {other}: '
                'correct one of them'
            )
    if shared:
        warn(
            f'{shared} OF {len(other.samples)} SAMPLES OF {other} ARE IN '
            f'TRAINING, TOO ({train}): its score does not tell how well the '
            'model does on new data'
        )


def _check_topk(evaluator: Any, heads: Mapping[str, int]) -> None:
    """More guesses than classes: an error late, or a score of 1."""
    count = min(heads.values(), default=0)
    for metric in getattr(evaluator, 'metrics', ()):
        kind = type(metric).__name__
        options = getattr(metric, 'metric_options', None) or {}
        topk = options.get('top_k_accuracy', {}).get('topk', ())
        topk = metric.topk if kind == 'Accuracy' else topk
        most = int(np.max(topk, initial=0))
        if 0 < count < most:
            text = (
                f'{kind} of the evaluator counts the best {most} guesses '
                f'(topk={topk}), but the model has {count} classes'
            )
            if kind == 'Accuracy':
                raise ValueError(f'{text}: set its topk')
            warn(f'{text}: top-{most} is always 1')


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
