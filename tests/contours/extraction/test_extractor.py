"""What is in the files, and what happens to files that are not sound."""

from __future__ import annotations

import errno
import json
import os
import zipfile
from dataclasses import replace
from pathlib import Path

import cv2
import decord
import numpy as np
import pytest
import torch

from bimm_mm.contours import extractor as module
from bimm_mm.contours.compression import Compression
from bimm_mm.contours.detectors import build_detector
from bimm_mm.contours.extractor import DetectorError, OutputError
from bimm_mm.contours.format import ContourFile
from bimm_mm.contours.report import Report
from bimm_mm.contours.units import Unit, find_units


def _alone(frame, detector, packing):
    """Contour of one frame, without batches."""
    detector = build_detector(detector)
    pixels = torch.from_numpy(frame).permute(2, 0, 1)[None]
    strength = detector.detect(pixels)
    return packing(strength, thinned=detector.thinned)[0].numpy()


@pytest.mark.parametrize('detector', ['sobel', 'canny'])
def test_video_holds_the_contours_of_its_frames(make_plan, media, detector):
    plan = make_plan(detector=detector, packing=Compression(density=0.1))
    path = str(media / 'signs' / 'eat.mkv')
    extractor = plan.build('cpu')
    report = extractor.extract(Unit((path,), video=True))
    out = Path(plan.contour_root) / 'signs' / 'eat.mkv.zip'
    assert report == Report(files=1, frames=6, bytes=out.stat().st_size)
    reader = decord.VideoReader(path, num_threads=1)
    with ContourFile(str(out)) as file:
        assert file.indices == [0, 8, 16, 24, 32, 40]
        assert file.settings == extractor.manifest.settings
        assert file.source['frame_count'] == len(reader) == 47
        assert file.source['size'] == [480, 640]
        for index in file.indices:
            frame = reader[index].asnumpy()
            small = cv2.resize(frame, (160, 120), interpolation=cv2.INTER_AREA)
            wanted = _alone(small, detector, plan.packing)
            assert wanted.any()
            np.testing.assert_array_equal(file.read(index), wanted)


def test_settings_are_all_that_changes_the_contours(make_plan):
    plan = make_plan(batch=3, command='x')
    assert plan.build('cpu').manifest.settings == {
        'detector': 'sobel',
        'packing': {'thin': True, 'density': 0.04, 'levels': 4},
        'stride': 8,
        'side': 120,
    }


def test_every_image_has_a_file(make_plan, media):
    plan = make_plan(packing=Compression(density=0.1))
    [unit] = find_units(str(media), folder='photos')
    report = plan.build('cpu').extract(unit)
    assert (report.files, report.frames, report.failed) == (5, 5, [])
    for path in unit.paths:
        image = cv2.imread(path)
        scale = 120 / min(image.shape[:2])
        size = [round(side * scale) for side in image.shape[:2]]
        small = cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA)
        wanted = _alone(
            np.ascontiguousarray(small[..., ::-1]), 'sobel', plan.packing
        )
        with ContourFile(plan.place(path)) as file:
            assert (file.indices, file.size) == ([0], tuple(size))
            assert file.source['frame_count'] == 1
            np.testing.assert_array_equal(file.read(0), wanted)


def test_batches_are_of_one_size_and_do_not_depend_on_what_is_finished(
    make_plan, media, monkeypatch
):
    for number in range(5):
        image = np.full((130 + number // 3, 130, 3), 40 * number, np.uint8)
        cv2.imwrite(str(media / 'photos' / f'{number} bee.jpg'), image)
    [unit] = find_units(str(media), folder='photos')
    plan = make_plan(batch=2, side=200)
    seen = []
    detect = type(build_detector('sobel')).detect

    def spy(self, frames):
        seen.append((tuple(frames.shape), round(frames.float().mean().item())))
        return detect(self, frames)

    monkeypatch.setattr(type(build_detector('sobel')), 'detect', spy)
    plan.build('cpu').extract(unit)
    whole = seen.copy()
    assert [shape for shape, _ in whole] == [
        (2, 3, 130, 130), (1, 3, 130, 130), (2, 3, 131, 130),
    ]  # fmt: skip
    os.remove(plan.place(unit.paths[1]))
    os.remove(plan.place(unit.paths[2]))
    seen.clear()
    report = plan.build('cpu').extract(unit)
    assert (report.files, report.skipped) == (2, 3)
    assert seen == whole[:2]


def test_finished_files_cost_one_listing_per_folder(
    make_plan, media, monkeypatch
):
    plan = make_plan()
    units = find_units(str(media))
    for unit in units:
        plan.build('cpu').extract(unit)
    extractor, listed = plan.build('cpu'), []
    scandir = os.scandir
    monkeypatch.setattr(
        os, 'scandir', lambda path: listed.append(path) or scandir(path)
    )
    for name in ('stat', 'lstat'):
        monkeypatch.setattr(os, name, lambda *_: pytest.fail('looked up'))
    report = sum((extractor.extract(unit) for unit in units), Report())
    monkeypatch.undo()
    assert report == Report(skipped=8)
    assert len(listed) == 2


def test_bad_media_are_reported_and_leave_nothing(make_plan, media, digests):
    (media / 'signs' / 'text.mp4').write_text('no video')
    (media / 'signs' / 'empty.mp4').touch()
    broken = (media / 'signs' / 'eat.mkv').read_bytes()[:999]
    (media / 'signs' / 'eat.mkv').write_bytes(broken)
    (media / 'photos' / '1 bee.jpg').write_text('no image')
    listing = media.parent / 'list.txt'
    names = [p.relative_to(media) for p in sorted(media.rglob('*.*'))]
    listing.write_text('\n'.join(f'{n} 0' for n in [*names, 'gone.mp4']))
    plan = make_plan()
    extractor = plan.build('cpu')
    units = find_units(str(media), list_file=str(listing))
    report = sum((extractor.extract(unit) for unit in units), Report())
    assert (report.files, report.skipped, report.total) == (6, 0, 11)
    reasons = {Path(path).name: reason for path, reason in report.failed}
    assert set(reasons) == {
        'text.mp4', 'empty.mp4', 'eat.mkv', '1 bee.jpg', 'gone.mp4',
    }  # fmt: skip
    assert reasons['gone.mp4'] == 'No such file or directory'
    assert reasons['empty.mp4'] == 'the file is empty'
    assert len(digests(plan.contour_root)) == 6


def _truncate(path):
    path.write_bytes(path.read_bytes()[:-99])


def _damage_a_frame(path):
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        place = archive.infolist()[-2].header_offset + 60
    content[place : place + 20] = bytes(20)
    path.write_bytes(content)


def _other_settings(path):
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    about = json.loads(content['settings.json'])
    about['settings']['side'] = 121
    content['settings.json'] = json.dumps(about).encode()
    with zipfile.ZipFile(path, 'w') as archive:
        for name, data in content.items():
            archive.writestr(name, data)


def _lose_a_frame(path):
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    del content[max(name for name in content if name.endswith('.webp'))]
    with zipfile.ZipFile(path, 'w') as archive:
        for name, data in content.items():
            archive.writestr(name, data)


@pytest.mark.parametrize(
    'harm', [_truncate, _damage_a_frame, _other_settings, _lose_a_frame]
)
def test_verify_makes_broken_files_again(make_plan, media, harm):
    plan = make_plan()
    unit = Unit((str(media / 'signs' / 'eat.mkv'),), video=True)
    plan.build('cpu').extract(unit)
    out = Path(plan.place(unit.paths[0]))
    sound = out.read_bytes()
    careful = replace(plan, verify=True)
    assert careful.build('cpu').extract(unit) == Report(skipped=1)
    harm(out)
    assert plan.build('cpu').extract(unit) == Report(skipped=1)
    report = careful.build('cpu').extract(unit)
    assert (report.files, report.broken, report.skipped) == (1, 1, 0)
    assert out.read_bytes() == sound


def test_verify_notices_another_source(make_plan, media):
    plan = make_plan(verify=True)
    unit = Unit((str(media / 'signs' / 'eat.mkv'),), video=True)
    plan.build('cpu').extract(unit)
    os.replace(media / 'signs' / 'want.mkv', unit.paths[0])
    assert plan.build('cpu').extract(unit).broken == 1
    assert plan.build('cpu').extract(unit) == Report(skipped=1)


@pytest.mark.parametrize(
    ('number', 'remedy'),
    [(errno.ENOSPC, r'make room'), (errno.EACCES, r'make the folder writ')],
)
def test_errors_of_writing_end_the_run(
    make_plan, media, monkeypatch, number, remedy
):
    def fail(path, frames, indices, **_):
        next(iter(frames))
        raise OSError(number, os.strerror(number), path)

    monkeypatch.setattr(module, 'write_contours', fail)
    plan = make_plan()
    unit = Unit((str(media / 'signs' / 'eat.mkv'),), video=True)
    message = rf'eat\.mkv\.zip cannot be written \(.*{remedy}'
    with pytest.raises(OutputError, match=message):
        plan.build('cpu').extract(unit)


@pytest.mark.parametrize(
    ('error', 'message'),
    [
        (torch.OutOfMemoryError('CUDA'), r'4 frames of 120 x 160 .*--batch'),
        (OSError('of the detector'), r"'sobel' fails at .*eat\.mkv: OSError"),
    ],
)
def test_errors_of_the_detector_end_the_run(
    make_plan, media, monkeypatch, error, message
):
    def fail(*_):
        raise error

    monkeypatch.setattr(type(build_detector('sobel')), 'detect', fail)
    plan = make_plan()
    unit = Unit((str(media / 'signs' / 'eat.mkv'),), video=True)
    with pytest.raises(DetectorError, match=message):
        plan.build('cpu').extract(unit)
    assert not list(Path(plan.contour_root).rglob('*.*'))
