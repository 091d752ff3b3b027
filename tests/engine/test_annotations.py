"""Boxes and masks that do not mean what their readers think."""

from __future__ import annotations

import json

import bimm_mm.compat  # noqa: F401  mmdet needs operators

# isort: split
import cv2
import numpy as np
import pytest
from mmdet.datasets import CocoDataset
from mmengine.registry import init_default_scope
from mmseg.datasets import BaseSegDataset

from bimm_mm.engine.annotations import check_annotations

WIDTH, HEIGHT = 80, 60
FROM_1 = dict(reduce_zero_label=True)
BOXES = ([40, 20, 30, 30], [5, 10, 20, 40], [50, 30, 20, 20])


@pytest.fixture
def coco(tmp_path):
    """Checks three pictures with a box each, changed as asked."""
    init_default_scope('mmdet')

    def check(
        change=lambda box: box,
        *,
        classes=('ant', 'bee'),
        shrunk=1,
        without='',
        encoding='utf-8',
        **extra,
    ):
        images, found = [], []
        for index, box in enumerate(BOXES):
            name = f'{index}.jpg'
            picture = np.zeros((HEIGHT, WIDTH // shrunk, 3), np.uint8)
            cv2.imwrite(str(tmp_path / name), picture)
            size = dict(width=WIDTH, height=HEIGHT)
            images.append(dict(id=index, file_name=name, **size))
            x, y, w, h = box
            outline = [[x, y, x + w, y, x + w, y + h]]
            each = dict(id=index, image_id=index, bbox=change(box), area=9)
            each |= dict(category_id=1 + index % 2, segmentation=outline)
            found.append(each | extra)
            found[-1].pop(without, None)
        kinds = [dict(id=1, name='ant'), dict(id=2, name='bee')]
        content = dict(images=images, annotations=found, categories=kinds)
        path = tmp_path / 'boxes.json'
        path.write_text(json.dumps(content), encoding)
        dataset = CocoDataset(
            ann_file=str(path),
            data_prefix=dict(img=str(tmp_path)),
            metainfo=dict(classes=classes),
            filter_cfg=dict(filter_empty_gt=True),
            serialize_data=False,
            pipeline=[dict(type='LoadAnnotations', with_mask=True)],
        )
        check_annotations(dataset, 'train_dataloader', all_used=True)

    return check


def corners(box):
    return [box[0], box[1], box[0] + box[2], box[1] + box[3]]


def shares(box):
    return (np.array(box) / [WIDTH, HEIGHT, WIDTH, HEIGHT]).tolist()


@pytest.mark.parametrize(
    ('words', 'options'),
    [
        ('1 of 3 boxes of .*boxes.* usable.*corners', dict(change=corners)),
        (r'0 of 3 boxes.*\(3 have.*shares\?', dict(change=shares)),
        # mmdet passes over these.
        (r'0 of 3 .*\? 3 have no area', dict(area=0)),
        ('no box is of .*iscrowd', dict(iscrowd=1)),
        ('segmentation; .*boxes.* none in 3 of 3', dict(segmentation=[])),
        (r"order \['ant', 'bee'\], by", dict(classes=('bee', 'ant'))),
        (r'0\.jpg has 40 x 60 .*boxes.* 80 x 60: one', dict(shrunk=2)),
        ("not what CocoDataset .*KeyError: 'bbox'", dict(without='bbox')),
        ("not what CocoDataset .*KeyError: 'area'", dict(without='area')),
        (r'boxes\.json is not .* UTF-8 BOM', dict(encoding='utf-8-sig')),
    ],
)
def test_boxes_that_are_not_what_mmdet_reads_are_told(coco, words, options):
    with pytest.raises(ValueError, match=words):
        coco(**options)


def test_boxes_that_are_left_out_are_counted(coco, warnings):
    coco()
    assert not warnings()
    coco(classes=('ant',))
    assert '1 of 3 pictures are left out' in warnings()
    assert '1 of 3 boxes (other classes' in warnings()


def test_pictures_that_do_not_exist_are_counted(coco, monkeypatch):
    monkeypatch.setattr(cv2, 'imwrite', lambda path, picture: None)
    with pytest.raises(
        FileNotFoundError, match=r'3 of the 3.*0\.jpg.*data_pref'
    ):
        coco()


@pytest.fixture
def masks(tmp_path):
    """Checks masks of four classes with the given values."""
    init_default_scope('mmseg')

    def check(*values, all_used=True, color=False, fitting=True, **options):
        for index, value in enumerate(values):
            mask = np.array([value, value], np.uint8)
            if color:
                mask = np.stack([mask] * 3, 2)
            cv2.imwrite(str(tmp_path / f'{index}.png'), mask)
            picture = mask[:, : None if fitting else 1]
            cv2.imwrite(str(tmp_path / f'{index}.jpg'), picture)
        dataset = BaseSegDataset(
            data_root=str(tmp_path),
            metainfo=dict(classes=('a', 'b', 'c', 'd')),
            pipeline=[dict(type='LoadAnnotations')],
            serialize_data=False,
            **options,
        )
        check_annotations(dataset, 'train_dataloader', all_used=all_used)

    return check


@pytest.mark.parametrize(
    ('words', 'values', 'options'),
    [
        ('1.png has the value 4.*zero_label=True', ([0, 1, 2], [3, 4]), {}),
        ('none has the value 4.*need False', ([0, 1, 2], [3, 2]), FROM_1),
        (r'0\.png has the value 7.* 1\.\.4', ([0, 7], [4]), FROM_1),
        ('0.png has the shape .*palette', ([0, 3], [3]), dict(color=True)),
        ('0.jpg has 1 x 2 .*0.png 2 x 2', ([0, 3],), dict(fitting=False)),
    ],
)
def test_masks_that_are_not_of_the_classes_are_told(
    masks, words, values, options
):
    with pytest.raises(ValueError, match=words):
        masks(*values, **options)


def test_masks_that_may_be_right_are_accepted(masks, tmp_path, warnings):
    masks([0, 1, 255], [2, 3])
    masks([0, 1, 2], [3, 4, 255], **FROM_1)
    assert not warnings()
    masks([0, 1, 2], [3, 2], **FROM_1, all_used=False)
    assert 'none has the value 4' in warnings()
    (tmp_path / '1.png').unlink()
    with pytest.raises(FileNotFoundError, match=r'1 of the 2 files.*1\.png'):
        masks([0, 3])
