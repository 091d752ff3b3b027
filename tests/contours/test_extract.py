"""What is in the files; what happens to files that are not sound."""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import decord
import numpy as np
import pytest
import torch

from bimm_mm.contours import ContourFile
from bimm_mm.contours.compression import Compression
from bimm_mm.contours.config import ExtractionConfig
from bimm_mm.contours.detectors import build_detector
from bimm_mm.contours.extract import (
    ExtractionError,
    Extractor,
    Stats,
    extract_contours,
    split_done,
    tidy_up,
)
from bimm_mm.contours.jobs import Job, find_jobs


@pytest.fixture
def media(data_root: Path, tmp_path: Path) -> Path:
    """Three clips in ``signs/`` and five photographs in ``photos/``."""
    root = tmp_path / 'media'
    for folder in ('signs', 'photos'):
        (root / folder).mkdir(parents=True)
    for name in ('eat', 'hungry', 'want'):  # 47 to 49 frames of 480 x 640 px
        source = data_root / 'clips' / 'asl_gestures' / f'{name}.mkv'
        shutil.copyfile(source, root / 'signs' / f'{name}.mkv')
    photos = data_root / 'image_mini' / 'hymenoptera' / 'val' / 'bees'
    for number, photo in enumerate(sorted(photos.glob('*.jpg'))[:5]):
        shutil.copyfile(photo, root / 'photos' / f'{number} bee.jpg')
    return root


@pytest.fixture
def make(media: Path, tmp_path: Path) -> Callable[..., ExtractionConfig]:
    """A config for ``media``, with other values where given."""

    def make(out: str = 'out', **values) -> ExtractionConfig:
        full = {'detector': 'sobel', 'stride': 8, 'side': 120, 'batch': 4}
        full |= {'data_root': str(media), 'contour_root': str(tmp_path / out)}
        return ExtractionConfig(**{**full, **values})

    return make


def _eat(media: Path) -> Job:
    return Job((str(media / 'signs' / 'eat.mkv'),), video=True)


def _alone(frame, detector, compression):
    """Contour of one frame, without batches."""
    detector = build_detector(detector)
    strength = detector.detect(torch.from_numpy(frame).permute(2, 0, 1)[None])
    return compression(strength, thinned=detector.thinned)[0].numpy()


@pytest.mark.parametrize('detector', ['sobel', 'canny'])
def test_video_holds_the_contours_of_its_frames(make, media, detector):
    config = make(detector=detector, compression=Compression(density=0.1))
    extractor = Extractor(config, device='cpu')
    stats = extractor.extract(_eat(media))
    out = Path(config.contour_root) / 'signs' / 'eat.mkv.zip'
    assert stats == Stats(files=1, frames=6, bytes=out.stat().st_size)
    reader = decord.VideoReader(_eat(media).paths[0], num_threads=1)
    with ContourFile(str(out)) as file:
        assert file.indices == [0, 8, 16, 24, 32, 40]
        assert file.settings == extractor.manifest.settings
        assert file.source['frame_count'] == len(reader) == 47
        assert file.source['size'] == [480, 640]
        for index in file.indices:
            frame = reader[index].asnumpy()
            small = cv2.resize(frame, (160, 120), interpolation=cv2.INTER_AREA)
            wanted = _alone(small, detector, config.compression)
            assert wanted.any()
            np.testing.assert_array_equal(file.read(index), wanted)


def test_every_image_has_a_file(make, media):
    config = make(compression=Compression(density=0.1))
    [job] = find_jobs(str(media), folder='photos')
    stats = Extractor(config, device='cpu').extract(job)
    assert (stats.files, stats.frames, stats.failed) == (5, 5, [])
    for path in job.paths:
        image = cv2.imread(path)
        scale = 120 / min(image.shape[:2])
        size = [round(side * scale) for side in image.shape[:2]]
        small = cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA)
        frame = np.ascontiguousarray(small[..., ::-1])
        wanted = _alone(frame, 'sobel', config.compression)
        with ContourFile(config.contour_path(path)) as file:
            assert (file.indices, file.size) == ([0], tuple(size))
            np.testing.assert_array_equal(file.read(0), wanted)


def test_batches_are_of_one_size_and_do_not_depend_on_what_is_finished(
    make, media, monkeypatch
):
    for number in range(5):
        image = np.full((130 + number // 3, 130, 3), 40 * number, np.uint8)
        cv2.imwrite(str(media / 'photos' / f'{number} bee.jpg'), image)
    [job] = find_jobs(str(media), folder='photos')
    config = make(batch=2, side=200)
    seen = []
    detector = type(build_detector('sobel'))
    detect = detector.detect

    def spy(self, frames):
        seen.append(frames)
        return detect(self, frames)

    monkeypatch.setattr(detector, 'detect', spy)
    Extractor(config, device='cpu').extract(job)
    assert [len(frames) for frames in seen] == [2, 1, 2]
    os.remove(config.contour_path(job.paths[1]))
    os.remove(config.contour_path(job.paths[2]))
    stats = Extractor(config, device='cpu').extract(job)
    assert (stats.files, stats.skipped) == (2, 3)
    assert len(seen) == 5 and all(map(torch.equal, seen[3:], seen[:2]))


def test_files_do_not_depend_on_threads_batches_or_shards(
    make, media, digests
):
    jobs = find_jobs(str(media), group=2)
    assert extract_contours(make('one'), jobs, threads=1).files == 8
    wanted = digests(make('one').contour_root)
    assert len(wanted) == 9
    many = make('many', batch=1)
    assert extract_contours(many, jobs, threads=3).files == 8
    assert digests(many.contour_root) == wanted
    parts = make('parts')
    counts = [extract_contours(parts, jobs[i::3]).files for i in range(3)]
    assert sum(counts) == 8 and digests(parts.contour_root) == wanted
    stats, pending = split_done(parts, jobs)
    assert (stats, pending) == (Stats(skipped=8), [])
    os.remove(parts.contour_path(jobs[0].paths[1]))
    assert split_done(parts, jobs) == (Stats(skipped=6), jobs[:1])
    assert extract_contours(parts, jobs).files == 1
    assert digests(parts.contour_root) == wanted


def _damage_a_frame(path):
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        start = archive.infolist()[-2].header_offset + 60
    content[start : start + 20] = bytes(20)
    path.write_bytes(content)


def _lose_a_frame(path):
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    del content[max(name for name in content if name.endswith('.webp'))]
    with zipfile.ZipFile(path, 'w') as archive:
        for name, data in content.items():
            archive.writestr(name, data)


@pytest.mark.parametrize(
    'harm',
    [lambda path: path.write_bytes(b''), _damage_a_frame, _lose_a_frame],
)
def test_verify_makes_broken_files_again(make, media, harm):
    config, jobs = make(), [_eat(media)]
    extract_contours(config, jobs)
    out = Path(config.contour_path(jobs[0].paths[0]))
    sound = out.read_bytes()
    careful = replace(config, verify=True)
    assert extract_contours(careful, jobs) == Stats(skipped=1)
    harm(out)
    assert extract_contours(config, jobs) == Stats(skipped=1)
    stats = extract_contours(careful, jobs)
    assert (stats.files, stats.skipped) == (1, 0)
    assert out.read_bytes() == sound


@pytest.mark.parametrize('verify', [False, True])
def test_copies_that_are_missing_are_made(make, media, tmp_path, verify):
    jobs = [_eat(media)]
    extract_contours(make(), jobs)
    config = make(frames_root=str(tmp_path / 'copies'), verify=verify)
    for _ in range(2):
        assert extract_contours(config, jobs).files == 1
        assert extract_contours(config, jobs) == Stats(skipped=1)
        (tmp_path / 'copies/signs/eat.mkv').unlink()


def test_verify_notices_another_source(make, media):
    config, jobs = make(verify=True), [_eat(media)]
    extract_contours(config, jobs)
    os.replace(media / 'signs' / 'want.mkv', jobs[0].paths[0])
    assert extract_contours(config, jobs).files == 1
    assert extract_contours(config, jobs) == Stats(skipped=1)


def test_a_file_that_cannot_be_written_ends_the_run(make, media):
    config = make()
    Path(config.contour_root).mkdir()
    Path(config.contour_root, 'signs').touch()  # where a folder is needed
    message = r'eat\.mkv\.zip cannot be written \(.*make room'
    with pytest.raises(ExtractionError, match=message):
        extract_contours(config, [_eat(media)])


@pytest.mark.parametrize(
    ('error', 'message'),
    [
        (torch.OutOfMemoryError('CUDA'), r'4 frames of 120 x 160 .*--batch'),
        (OSError('of the detector'), r"'sobel' fails at .*\.mkv: OSError"),
    ],
)
def test_errors_of_the_detector_end_the_run(
    make, media, monkeypatch, error, message
):
    def fail(*_):
        raise error

    monkeypatch.setattr(type(build_detector('sobel')), 'detect', fail)
    config = make()
    with pytest.raises(ExtractionError, match=message):
        extract_contours(config, find_jobs(str(media))[::-1], threads=2)
    assert os.listdir(config.contour_root) == ['manifest.json']


def test_only_drafts_of_ones_own_files_are_removed(make, media):
    config = make()
    folder = Path(config.contour_root, 'signs')
    folder.mkdir(parents=True)
    names = ['.77-0a1b2c3d_eat.mkv.zip', '.77-0a1b2c3d_want.mkv.zip']
    for name in (*names, 'x.zip'):
        (folder / name).touch()
    # Another process may be at work on the other.
    tidy_up(config, [_eat(media)])
    assert sorted(os.listdir(folder)) == [names[1], 'x.zip']
