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

from bimm_mm.utils.list_file import check_readable
from bimm_mm.utils.video import UndecodableVideoError

# Pictures and masks that are looked at, evenly over the dataset.
_LOOKED_AT = 300
# Share of a file's boxes that may be unusable, and by how many pixels a box
# may reach beyond its picture.
_SHARE, _PIXELS = 0.25, 1.0
_ORIENTATION = 0x112  # in EXIF


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
    if 'CocoDataset' in kinds:
        _check_coco(dataset, where)
    if 'BaseSegDataset' in kinds:
        _check_masks(dataset, where, all_used)


def _some(dataset: Any, where: str, key: str) -> list[dict[str, Any]]:
    """What is known of samples, evenly over the dataset; all files exist."""
    infos = [dataset.get_data_info(index) for index in range(len(dataset))]
    check_readable(
        [info[key] for info in infos],
        source=f'{where} ({key})',
        remedy='put them there, or change data_prefix of the dataset',
    )
    return infos[:: max(1, len(infos) // _LOOKED_AT)]


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


def _check_coco(dataset: Any, where: str) -> None:
    """Categories, boxes and outlines of a file in COCO's format."""
    some = _some(dataset, where, 'img_path')
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
    for info in some:
        size = info['width'], info['height']
        _check_size(info['img_path'], size, file)
    sizes = {i['id']: (i['width'], i['height']) for i in content['images']}
    known = set(dataset.cat_ids)
    boxes = content.get('annotations', [])  # a test set may have none
    used = [
        each
        for each in boxes
        if each['category_id'] in known
        and each['image_id'] in sizes
        and not (each.get('ignore') or each.get('iscrowd'))
    ]
    if used:
        _check_boxes(used, sizes, file)
    elif not dataset.test_mode:
        raise ValueError(
            f'{file}: no box is of a class of the config, and neither ignore '
            'nor iscrowd'
        )
    steps = _steps(dataset.pipeline)
    with_mask = any(getattr(step, 'with_mask', False) for step in steps)
    bare = sum(not each.get('segmentation') for each in used)
    if with_mask and bare:
        raise ValueError(
            f'Mask R-CNN needs segmentation; {file} has none in {bare} of '
            f'{len(used)} annotations: add the outlines, or use a detector '
            'without masks and LoadAnnotations(with_mask=False)'
        )
    left, others = len(sizes) - len(dataset), len(boxes) - len(used)
    if left or others:
        warn(
            f'{file}: {left} of {len(sizes)} pictures are left out '
            f'(filter_cfg={dataset.filter_cfg}, indices={dataset._indices}), '
            f'and {others} of {len(boxes)} boxes (other classes, ignore, '
            'iscrowd, no picture)'
        )


def _check_boxes(
    annotations: Sequence[Mapping[str, Any]],
    sizes: Mapping[Any, tuple[int, int]],
    file: str,
) -> None:
    """Boxes are x, y, width, height in pixels, inside their pictures."""
    boxes = np.array([each['bbox'] for each in annotations], float)
    size = np.array([sizes[each['image_id']] for each in annotations])
    total = len(boxes)
    # mmdet leaves these out.
    flat = np.array([each.get('area', 1) <= 0 for each in annotations])
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
        warn(text)


def _check_masks(dataset: Any, where: str, all_used: bool) -> None:
    """Values of masks, as training reads them, against the classes."""
    steps = _steps(dataset.pipeline)
    reader = next((s for s in steps if hasattr(s, 'reduce_zero_label')), None)
    if reader is None or not len(dataset):
        return
    samples = _some(dataset, where, 'seg_map_path')
    count, shift = len(dataset.metainfo['classes']), dataset.reduce_zero_label
    last = count - 1 + shift  # in the file
    found: set[int] = set()
    for info in samples:
        path = info['seg_map_path']
        try:
            mask = reader(info)['gt_seg_map']
        except UndecodableVideoError:
            continue  # replaced in training, and counted
        if mask.ndim != 2:
            raise ValueError(
                f'{where}: {path} has the shape {mask.shape}: a mask is a '
                'gray or palette PNG whose values are numbers of classes'
            )
        _check_size(info['img_path'], mask.shape[::-1], f'{where}: {path}')
        found |= set(np.unique(mask).tolist()) - {dataset.ignore_index}
        wrong = sorted(found - set(range(count)))
        if wrong:
            raise ValueError(
                f'{where}: {path} has the value {wrong[0] + shift}, but '
                f'{count} classes with reduce_zero_label={shift} are '
                f'{int(shift)}..{last} (and {dataset.ignore_index}, ignored): '
                'masks that count from 1 need reduce_zero_label=True; else '
                'correct the masks'
            )
    if count - 1 not in found:
        text = (
            f'{where}: of {len(dataset)} masks in '
            f'{dataset.data_prefix["seg_map_path"]} {len(samples)} were '
            f'looked at, and none has the value {last}, that of the last '
            f'class with reduce_zero_label={shift}: masks that count from 0 '
            'need False'
        )
        if all_used and len(samples) == len(dataset):
            raise ValueError(
                f'{text} (set allow_unused=True of bimm_mm.LabelCheckHook if '
                'there is none on purpose)'
            )
        warn(text)


def _steps(pipeline: Any) -> Iterator[Any]:
    """All transforms of a pipeline, also those inside others."""
    for step in getattr(pipeline, 'transforms', ()):
        yield step
        yield from _steps(step)


def warn(text: str) -> None:
    """Log a warning."""
    print_log(text, 'current', logging.WARNING)
