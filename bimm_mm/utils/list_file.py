"""List files: a path and a label per line."""

from __future__ import annotations

import os.path as osp
from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.fileio import list_from_file

_FORMAT = (
    'Each line names a file and its class, like "dancing/a.mp4 0" '
    '(pretraining ignores the class: 0 will do)'
)


def check_list_file(
    path: str,
    *,
    delimiter: str = ' ',
    labels: bool = True,
    splits_paths: bool = False,
) -> None:
    """Check that a list file can be read as ``path label``.

    mmaction2 reads a line without a label as one of class -1 and an empty
    line as a video with the name of the folder; other mistakes end in errors
    that do not name the line.

    Args:
        path: The list file.
        delimiter: Between path and label.
        labels: Whether lines have labels.
        splits_paths: Whether the dataset splits a line at every delimiter,
            so that paths may have none.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is empty or a line is not ``path label``.
    """
    try:
        lines = list_from_file(path)
    except FileNotFoundError:
        raise FileNotFoundError(
            f'the list file {path} does not exist. {_FORMAT}'
        ) from None
    if not lines:
        raise ValueError(f'the list file {path} is empty. {_FORMAT}')
    for number, line in enumerate(lines, 1):
        wrong = _fault(line.strip(), delimiter, labels)
        if splits_paths and not wrong and line.strip().count(delimiter) > 1:
            wrong = (
                f'{delimiter!r} inside the path; rename the file, or use '
                "another delimiter in the list and set the dataset's"
            )
        if wrong:
            raise ValueError(
                f'{path}, line {number}, {line!r}: {wrong}. {_FORMAT}'
            )


def find_list_files(dataset: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The text lists that a dataset's config names, also inside wrappers.

    Yields:
        Arguments of :func:`check_list_file`.
    """
    ann_file = dataset.get('ann_file') or ''
    if ann_file.endswith('.txt'):
        yield {
            # An absolute ann_file stays as it is.
            'path': osp.join(dataset.get('data_root') or '', ann_file),
            'delimiter': dataset.get('delimiter', ' '),
            'labels': dataset.get('with_label', True),
            # mmaction2's, as long as a video has one label.
            'splits_paths': type_name(dataset).endswith('VideoDataset')
            and not dataset.get('multi_class', False),
        }
    for config in [dataset.get('dataset'), *dataset.get('datasets', ())]:
        if isinstance(config, Mapping):
            yield from find_list_files(config)


def type_name(config: Mapping[str, Any]) -> str:
    """Name of the class that a config is of, without a library's prefix."""
    kind = config['type']
    return getattr(kind, '__name__', kind).rsplit('.', 1)[-1]


def _fault(line: str, delimiter: str, labels: bool) -> str:
    """What is wrong with a line; empty if nothing."""
    path, *label = line.rsplit(delimiter, 1) if labels else [line]
    if not path:
        return 'no path'
    if labels and not label:
        return f'no label after {delimiter!r}'
    if labels and not label[0].strip().isdigit():
        return f'the label {label[0]!r} is not a number'
    return ''
