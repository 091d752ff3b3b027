"""AVA's annotation files, checked before they can go wrong silently."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
from mmengine.fileio import list_from_file

_ROW = (
    'A row is video,second,x1,y1,x2,y2,action,person with corners in shares '
    'of width and height, in [0, 1], and actions from 1'
)


def check_annotations(
    path: str,
    *,
    num_classes: int,
    seconds: tuple[int, int],
    custom_classes: Collection[int] | None = None,
) -> None:
    """Check the boxes and actions that mmaction2 will train or test with.

    Boxes in pixels train with a falling loss and end in an mAP of 0; seconds
    that do not fit the videos' start show the model other frames.

    Args:
        path (str): File of annotations, a csv.
        num_classes (int): Number of actions plus 1: class 0 is background.
        seconds (tuple[int, int]): ``timestamp_start`` and ``timestamp_end``
            of the dataset: what second the videos begin and end with.
        custom_classes (Collection[int], optional): The actions in use, of
            which the dataset makes 1, 2, ...; others are skipped. Defaults
            to None: all, as they are numbered.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is empty or a row is wrong, with its number.
    """
    rows = list_from_file(path)
    if not rows:
        raise ValueError(f'{path} is empty. {_ROW}')
    for number, row in enumerate(rows, 1):
        wrong = _fault(row, num_classes, seconds, custom_classes)
        if wrong:
            raise ValueError(f'{path}, row {number}, {row!r}: {wrong}')


def check_label_file(path: str) -> None:
    """Check that mmaction2 finds actions in a label file.

    Its reader wants exactly two spaces before ``name:`` and ``id:`` (or
    ``label_id:``); otherwise it finds nothing, and evaluation fails after the
    first epoch.

    Args:
        path (str): File of actions, a pbtxt.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If mmaction2 finds no action in it.
    """
    from mmaction.evaluation import read_labelmap

    _, found = read_labelmap(list_from_file(path))
    if not found:
        raise ValueError(
            f'mmaction2 finds no action in the label file {path}: an entry '
            'is "item {", "  name: \\"sit\\"", "  id: 11", "}", each on a '
            'line of its own, name and id after exactly two spaces'
        )


def check_detections(
    detections: Mapping[str, np.ndarray], path: str, frames: Collection[str]
) -> None:
    """Check detected persons against the key frames they are for.

    mmaction2 takes the whole frame for a person where a key frame is not in
    the file, hence everywhere if the names are written differently.

    Args:
        detections (Mapping[str, np.ndarray]): By key frame, (n, 5), float:
            x1, y1, x2, y2, all in [0, 1], and score.
        path (str): The file they come from.
        frames (Collection[str]): Names of the key frames.

    Raises:
        ValueError: If they have no scores, are not in shares of the frame or
            are of other key frames.
    """
    for frame, boxes in detections.items():
        boxes = np.asarray(boxes)
        if boxes.ndim != 2 or boxes.shape[1] != 5:
            raise ValueError(
                f'{path}: {frame!r} has an array of shape {boxes.shape}, '
                'expected (n, 5): x1, y1, x2, y2 and score'
            )
        if boxes.size and not (boxes.min() >= 0 and boxes.max() <= 1):
            raise ValueError(
                f'{path}: {frame!r} has numbers from {boxes.min():g} to '
                f'{boxes.max():g}: give corners in shares of width and '
                'height, and scores, all in [0, 1]'
            )
    if not any(frame in detections for frame in frames):
        raise ValueError(
            f'{path} has none of the key frames: it names them like '
            f'{next(iter(detections), None)!r}, the annotations like '
            f'{next(iter(frames))!r} (video, second of four digits)'
        )


def _fault(
    row: str,
    num_classes: int,
    seconds: tuple[int, int],
    custom_classes: Collection[int] | None,
) -> str:
    """What is wrong with a row; empty if nothing."""
    fields = row.strip().split(',')
    if len(fields) != 8:
        return f'{len(fields)} fields. {_ROW}'
    try:
        second, action = int(fields[1]), int(fields[6])
        x1, y1, x2, y2 = map(float, fields[2:6])
    except ValueError as error:
        return f'{error}. {_ROW}'
    if not (0 <= x1 <= x2 <= 1 and 0 <= y1 <= y2 <= 1):
        return f'no box in shares of the frame. {_ROW}'
    first, last = seconds
    if not first <= second <= last:
        return (
            f'second {second}, but the videos are said to last from '
            f'{first} to {last}: set timestamp_start and timestamp_end of '
            'the dataset'
        )
    if custom_classes is None and not 1 <= action < num_classes:
        return (
            f'action {action}, but num_classes={num_classes} means actions '
            f'1..{num_classes - 1} (0 is the background): change the config '
            'or the annotations'
        )
    return ''
