"""Boxes and masks that are not what their readers take them for.

mmdet leaves out boxes that it cannot use without a word, and trains on none;
mmseg shifts masks that count from 0 as if they counted from 1.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from mmengine.fileio import load
from mmengine.logging import print_log
from PIL import Image

from bimm_mm.utils.list_file import unreadable
from bimm_mm.utils.video import UndecodableVideoError

# Pictures and masks that are looked at, evenly over the dataset.
_LOOKED_AT = 300
# Share of a file's boxes that may be unusable, and by how many pixels a box
# may reach beyond its picture.
_SHARE, _PIXELS = 0.25, 1.0
_ORIENTATION = 0x112  # in EXIF
# So many files are named.
_NAMED = 3


def check_annotations(dataset: Any, where: str, *, all_used: bool) -> None:
    """Look at the content of a dataset's annotations, if it is known how.

    Args:
        dataset: Without wrappers.
        where: Key of its dataloader, for the message.
        all_used: Whether every class must occur.

    Raises:
        FileNotFoundError: If a picture or a mask does not exist.
        ValueError: If boxes or masks are not what they should be.
    """
    kinds = {kind.__name__ for kind in type(dataset).__mro__}
    for kind, check in _CHECKS.items():
        if kind in kinds:
            check(dataset, where, all_used)


def _check_files(dataset: Any, where: str, key: str) -> None:
    """All pictures or masks exist."""
    infos = map(dataset.get_data_info, range(len(dataset)))
    paths = [info[key] for info in infos]
    if bad := unreadable(paths):
        raise FileNotFoundError(
            f'{where}: {len(bad)} of {len(paths)} files cannot be read '
            f'({key}): {", ".join(bad[:_NAMED])}: put them there, or change '
            'data_prefix of the dataset'
        )


def _some(dataset: Any) -> Iterator[dict[str, Any]]:
    """What is known of some samples, evenly over the dataset."""
    last = len(dataset) - 1
    for index in np.unique(np.linspace(0, last, _LOOKED_AT).astype(int)):
        yield dataset.get_data_info(int(index))


def _check_size(path: str, size: tuple[int, int], source: str) -> None:
    """Compare a picture's width and height with what annotations are about."""
    try:
        with Image.open(path) as picture:
            found = picture.size
            # OpenCV turns pictures as EXIF says.
            if picture.getexif().get(_ORIENTATION, 1) > 4:
                found = found[::-1]
    except OSError:
        return  # loading it says what is wrong
    if found != size:
        raise ValueError(
            f'{path} has {found[0]} x {found[1]} pixels, and {source} '
            f'{size[0]} x {size[1]}: one of them was resized'
        )


def _check_coco(dataset: Any, where: str, all_used: bool) -> None:
    """Categories, boxes and outlines of a file in COCO's format."""
    _check_files(dataset, where, 'img_path')
    content = load(dataset.ann_file)
    file = f'{where}: {dataset.ann_file}'
    wanted = list(dataset.metainfo['classes'])
    names = [c['name'] for c in content['categories'] if c['name'] in wanted]
    if sorted(names) == sorted(wanted) and names != wanted:
        raise ValueError(
            f'{file} has the classes in the order {names}, by which mmdet '
            f'numbers them, and metainfo.classes is {wanted}: give '
            'metainfo.classes in the order of the file'
        )
    for info in _some(dataset):
        size = info['width'], info['height']
        _check_size(info['img_path'], size, file)
    known = set(dataset.cat_ids)
    boxes = content.get('annotations', [])  # a test set may have none
    used = [
        each
        for each in boxes
        if each['category_id'] in known
        and not (each.get('ignore') or each.get('iscrowd'))
    ]
    if used:
        _check_boxes(used, content['images'], file)
    elif not dataset.test_mode:
        raise ValueError(
            f'{file}: no box is of a class of the config, and neither ignore '
            'nor iscrowd'
        )
    with_mask = any(
        getattr(t, 'with_mask', False) for t in _steps(dataset.pipeline)
    )
    bare = sum(not each.get('segmentation') for each in used)
    if with_mask and bare:
        raise ValueError(
            f'Mask R-CNN needs segmentation; {file} has none in {bare} of '
            f'{len(used)} annotations: add the outlines, or use a detector '
            'without masks and LoadAnnotations(with_mask=False)'
        )
    left = len(content['images']) - len(dataset)
    others = len(boxes) - len(used)
    if left or others:
        _warn(
            f'{file}: {left} of {len(content["images"])} pictures are left '
            f'out (filter_cfg={dataset.filter_cfg}, indices='
            f'{dataset._indices}), and {others} of '
            f'{len(boxes)} boxes (other classes, ignore, iscrowd)'
        )


def _check_boxes(
    annotations: Sequence[Mapping[str, Any]],
    images: Sequence[Mapping[str, Any]],
    file: str,
) -> None:
    """Boxes are x, y, width, height in pixels, inside their pictures."""
    sizes = {each['id']: (each['width'], each['height']) for each in images}
    try:
        boxes = np.array([a['bbox'] for a in annotations], float)
        size = np.array([sizes[a['image_id']] for a in annotations], float)
        boxes, size = boxes.reshape(-1, 4), size.reshape(-1, 2)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f'{file}: {type(error).__name__} {error}: every annotation needs '
            'image_id of a picture and bbox, [x, y, width, height] in pixels'
        ) from None
    total = len(boxes)
    # mmdet leaves these out.
    flat = np.array([a.get('area', 1) <= 0 for a in annotations])
    small = (boxes[:, 2:] < 1).any(1)
    beyond = (boxes[:, :2] < -_PIXELS).any(1)
    beyond |= (boxes[:, :2] + boxes[:, 2:] > size + _PIXELS).any(1)
    usable = int((~(flat | small | beyond)).sum())
    text = (
        f'{usable} of {total} boxes of {file} are usable ({small.sum()} have '
        f'w or h below 1 pixel: shares? {beyond.sum()} reach beyond the '
        f'picture: corners? {flat.sum()} have no area)'
    )
    # Boxes of which each is larger than its distance from the corner, and
    # some reach beyond the picture, are corners.
    corners = beyond.any() and (boxes[:, 2:] > boxes[:, :2]).all()
    if corners or total - usable > _SHARE * total:
        raise ValueError(
            f"{text}: COCO's bbox is [x, y, width, height], in pixels, its "
            'area w x h or less'
        )
    if usable < total:
        _warn(text)


def _check_masks(dataset: Any, where: str, all_used: bool) -> None:
    """Values of masks, as training reads them, against the classes."""
    readers = [
        t for t in _steps(dataset.pipeline) if hasattr(t, 'reduce_zero_label')
    ]
    if not readers or not len(dataset):
        return
    _check_files(dataset, where, 'seg_map_path')
    count = len(dataset.metainfo['classes'])
    shift = dataset.reduce_zero_label
    found: set[int] = set()
    looked_at = 0
    for info in _some(dataset):
        looked_at += 1
        path = info['seg_map_path']
        try:
            mask = readers[0](info)['gt_seg_map']
        except UndecodableVideoError:
            continue  # replaced in training, and counted
        if mask.ndim != 2:
            raise ValueError(
                f'{where}: {path} has the shape {mask.shape}: a mask is a '
                'gray or palette PNG whose values are numbers of classes'
            )
        _check_size(info['img_path'], mask.shape[::-1], f'{where}: {path}')
        values = set(np.unique(mask).tolist()) - {dataset.ignore_index}
        wrong = sorted(values - set(range(count)))
        if wrong:
            raise ValueError(
                f'{where}: {path} has the value {wrong[0] + shift}, but '
                f'{count} classes with reduce_zero_label={shift} are '
                f'{int(shift)}..{count - 1 + shift} (and '
                f'{dataset.ignore_index}, ignored): masks that count from 1 '
                'need reduce_zero_label=True; else correct the masks'
            )
        found |= values
    if count - 1 not in found:
        text = (
            f'{where}: of {len(dataset)} masks in '
            f'{dataset.data_prefix["seg_map_path"]} {looked_at} were looked '
            f'at, and none has the value {count - 1 + shift}, that of the '
            f'last class with reduce_zero_label={shift}: masks that count '
            'from 0 need False'
        )
        if all_used and looked_at == len(dataset):
            raise ValueError(
                f'{text} (set allow_unused=True of bimm_mm.LabelCheckHook if '
                'there is none on purpose)'
            )
        _warn(text)


def _steps(pipeline: Any) -> Iterator[Any]:
    """All transforms of a pipeline, also those inside others."""
    for step in getattr(pipeline, 'transforms', ()):
        yield step
        yield from _steps(step)


def _warn(text: str) -> None:
    print_log(text, 'current', logging.WARNING)


_CHECKS = {'CocoDataset': _check_coco, 'BaseSegDataset': _check_masks}
