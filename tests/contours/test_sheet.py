"""Samples of contours and the sheet they are drawn on."""

from __future__ import annotations

import random
import shutil
from collections import Counter
from pathlib import Path

import cv2
import decord
import numpy as np
import pytest

from bimm_mm.contours.format import ContourError, fingerprint, write_contours
from bimm_mm.contours.manifest import Manifest
from bimm_mm.contours.samples import Sample, draw_files, read_samples
from bimm_mm.contours.sheet import (
    caption,
    draw_sheet,
    sample_strip,
    sheet_title,
)

SETTINGS = {
    'detector': 'sobel',
    'packing': {'thin': True, 'density': 0.25, 'levels': 4},
    'stride': 3,
    'side': 32,
}


def write_image(root: Path, name: str, *, size=(32, 48)) -> np.ndarray:
    """An image of its own color with contours of a quarter; its pixels."""
    rng = random.Random(name)
    image = np.full((*size, 3), [rng.randrange(256) for _ in '123'], np.uint8)
    path = root / 'data' / name
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), image[..., ::-1])
    contour = np.zeros(size, np.uint8)
    contour[: size[0] // 2, : size[1] // 2] = 255
    write_contours(
        str(root / 'contours' / f'{name}.zip'),
        [contour],
        [0],
        settings=SETTINGS,
        source=fingerprint(str(path), size=size, frame_count=1),
    )
    return image


@pytest.fixture
def manifest(tmp_path) -> Manifest:
    manifest = Manifest(settings=SETTINGS, command='make it')
    manifest.write(str(tmp_path / 'contours'))
    return manifest


@pytest.fixture
def roots(tmp_path, manifest) -> tuple[str, str]:
    for name in ('a.png', 'deep/b.png', 'deep/er/c.png'):
        write_image(tmp_path, name)
    return str(tmp_path / 'contours'), str(tmp_path / 'data')


def make_sample(**changes) -> Sample:
    return Sample(
        **{
            'name': 'a.mp4',
            'index': 4,
            'frame_count': 9,
            'contour': np.zeros((4, 6), np.uint8),
            'picture': np.full((4, 6, 3), 100, np.uint8),
            'fault': '',
            'frames': 2,
            'bytes': 300,
            **changes,
        }
    )


def test_images_come_with_their_pixels(tmp_path, roots):
    samples = read_samples(*roots, num=9)
    names = [sample.name for sample in samples]
    assert names == ['a.png', 'deep/b.png', 'deep/er/c.png']
    for sample in samples:
        expected = write_image(tmp_path / 'again', sample.name)
        assert np.array_equal(sample.picture, expected)
        assert np.count_nonzero(sample.contour) == 16 * 24
        assert not sample.fault and sample.frames == 1
        path = Path(roots[0], f'{sample.name}.zip')
        assert sample.bytes == path.stat().st_size


def test_a_video_comes_with_the_frame_of_its_contour(
    tmp_path, manifest, data_root
):
    video = min(
        (data_root / 'clips').glob('*.mp4'), key=lambda p: p.stat().st_size
    )
    (tmp_path / 'data').mkdir()
    path = str(shutil.copy(video, tmp_path / 'data/clip.mp4'))
    frames = decord.VideoReader(path)
    height, width = frames[0].shape[:2]
    size = (
        round(height * 32 / min(height, width)),
        round(width * 32 / min(height, width)),
    )
    indices = range(0, len(frames), 3)
    write_contours(
        str(tmp_path / 'contours/clip.mp4.zip'),
        # Each contour says which frame it is of.
        [np.full(size, i // 3 % 256, np.uint8) for i in indices],
        indices,
        settings=SETTINGS,
        source=fingerprint(
            path, size=(height, width), frame_count=len(frames)
        ),
    )
    seen = set()
    for seed in range(4):
        [sample] = read_samples(
            str(tmp_path / 'contours'),
            str(tmp_path / 'data'),
            num=1,
            seed=seed,
        )
        assert sample.index % 3 == 0 and sample.frame_count == len(frames)
        assert np.all(sample.contour == sample.index // 3 % 256)
        frame = frames[sample.index].asnumpy()
        expected = cv2.resize(frame, size[::-1], interpolation=cv2.INTER_AREA)
        assert np.array_equal(sample.picture, expected)
        seen.add(sample.index)
    assert len(seen) > 1


def test_every_file_is_drawn_equally_often(tmp_path):
    for number in range(6):
        path = tmp_path / f'{number % 2}' / f'{number}.mp4.zip'
        path.parent.mkdir(exist_ok=True)
        path.touch()
    (tmp_path / 'manifest.json').touch()
    (tmp_path / '0.mp4.zip.77.tmp').touch()
    counts = Counter()
    for seed in range(600):
        drawn = draw_files(str(tmp_path), num=2, seed=seed)
        assert drawn == sorted(set(drawn)) and len(drawn) == 2
        counts.update(drawn)
    # 200 expected of each, with a standard deviation of 12.
    assert len(counts) == 6 and all(150 < n < 250 for n in counts.values())
    assert draw_files(str(tmp_path), num=2, seed=5) == draw_files(
        str(tmp_path), num=2, seed=5
    )


def test_pick_looks_at_the_whole_name(roots):
    assert draw_files(roots[0], num=9, pick='deep/') == [
        'deep/b.png.zip',
        'deep/er/c.png.zip',
    ]
    with pytest.raises(ContourError, match=r"none of 3 .* has '\.zip'"):
        draw_files(roots[0], num=9, pick='.zip')


def test_an_empty_folder_is_told(tmp_path, manifest):
    with pytest.raises(ContourError, match='holds no contour file'):
        read_samples(str(tmp_path / 'contours'), str(tmp_path), num=3)


def test_a_missing_manifest_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'no manifest\.json'):
        read_samples(str(tmp_path), str(tmp_path), num=3)


def test_a_wrong_data_root_is_told(roots):
    with pytest.raises(ContourError, match=r'none of 3 .* a\.png: name the'):
        read_samples(roots[0], roots[0], num=3)


def test_files_of_other_settings_are_refused(tmp_path, roots):
    Path(roots[0], 'manifest.json').unlink()
    other = Manifest(settings={**SETTINGS, 'side': 64}, command='make it')
    other.write(roots[0])
    with pytest.raises(ContourError, match=r'side: 32 != 64'):
        read_samples(*roots, num=3)


def test_missing_and_changed_sources_are_named(tmp_path, roots):
    Path(roots[1], 'a.png').unlink()
    with open(Path(roots[1], 'deep/b.png'), 'ab') as stream:
        stream.write(b'x')
    gone, changed, sound = read_samples(*roots, num=3)
    assert 'No such file' in gone.fault and 'data/a.png' in gone.fault
    assert 'not made from' in changed.fault and 'b.png' in changed.fault
    assert gone.picture is None and changed.picture is None
    assert not sound.fault and sound.picture is not None


def test_contours_of_another_shape_are_told(tmp_path, roots):
    path = Path(roots[1], 'a.png')
    write_contours(
        str(Path(roots[0], 'a.png.zip')),
        [np.zeros((32, 40), np.uint8)],
        [0],
        settings=SETTINGS,
        source=fingerprint(str(path), size=(32, 48), frame_count=1),
    )
    sample, *_ = read_samples(*roots, num=3)
    assert '(32, 40) px' in sample.fault and '(32, 48)' in sample.fault


def test_a_strip_shows_picture_contour_and_both():
    contour = np.zeros((4, 6), np.uint8)
    contour[1, 2], contour[3, 4] = 255, 102
    strip = sample_strip(make_sample(contour=contour))
    gap = (strip.shape[1] - 18) // 2
    picture, lines, both = (
        strip[:, start : start + 6] for start in (0, 6 + gap, 12 + 2 * gap)
    )
    assert np.all(picture == 100)
    assert np.array_equal(lines, np.stack([contour] * 3, axis=2))
    # Red where the contour is full, dark where there is none.
    assert both[1, 2].tolist() == [255, 40, 0]
    assert both[0, 0].tolist() == [60, 60, 60]
    # 0.4 of red over 0.6 of a picture that is dimmed to 60.
    assert both[3, 4].tolist() == [138, 52, 36]


def test_a_strip_without_picture_keeps_its_contour():
    contour = np.eye(6, dtype=np.uint8) * 255
    strip = sample_strip(
        make_sample(contour=contour, picture=None, fault='gone')
    )
    whole = sample_strip(
        make_sample(contour=contour, picture=np.zeros((6, 6, 3), np.uint8))
    )
    assert strip.shape == whole.shape
    middle = slice(6, strip.shape[1] - 6)
    assert np.array_equal(strip[:, middle], whole[:, middle])


def test_captions_say_frame_and_share():
    contour = np.zeros((4, 5), np.uint8)
    contour[0, :3] = 85
    assert caption(make_sample(contour=contour)) == (
        'a.mp4   frame 4 of 9, contour 15.0%'
    )
    image = make_sample(contour=contour, index=0, frame_count=1, name='x.png')
    assert caption(image) == 'x.png   contour 15.0%'
    long = caption(make_sample(name='folder/' * 40 + 'end.mp4'))
    assert len(long) < 90 and long.startswith('\u2026')
    assert 'end.mp4   frame 4' in long
    assert '?' in caption(make_sample(name='caf\udce9.mp4'))


def test_the_title_says_how_they_were_made(manifest):
    samples = [make_sample(), make_sample(frames=1, bytes=600)]
    assert sheet_title(samples, manifest) == (
        'sobel, stride 3, side 32, levels 4, density 0.25; '
        '300 bytes per frame in 2 files'
    )


@pytest.mark.parametrize('num', [1, 2, 3, 5])
def test_nothing_is_cut_or_covered(num):
    shapes = [(40, 160), (120, 40), (64, 64), (64, 96), (10, 300)]
    samples = [
        make_sample(
            name='$a_b^c$' * 30,
            contour=np.zeros(shape, np.uint8),
            picture=None
            if shape == (64, 64)
            else np.zeros((*shape, 3), np.uint8),
            fault='what is wrong ' * 6 if shape == (64, 64) else '',
        )
        for shape in shapes[:num]
    ]
    figure = draw_sheet(samples, 'title ' * 8)
    figure.draw_without_rendering()
    page = figure.bbox
    texts = figure.texts + [text for a in figure.axes for text in a.texts]
    boxes = [text.get_window_extent() for text in figure.texts]
    boxes += [axis.get_window_extent() for axis in figure.axes]
    assert len(figure.axes) == num and len(figure.texts) == num + 1
    for box in [*boxes, *(text.get_window_extent() for text in texts)]:
        assert page.x0 <= box.x0 and box.x1 <= page.x1
        assert page.y0 <= box.y0 and box.y1 <= page.y1
    for number, box in enumerate(boxes):
        assert not any(map(box.overlaps, boxes[number + 1 :]))
    for axis, sample in zip(
        figure.axes,
        sorted(samples, key=lambda s: s.contour.shape[0] / s.contour.shape[1]),
        strict=True,
    ):
        strip = sample_strip(sample)
        box = axis.get_window_extent()
        assert box.width / box.height == pytest.approx(
            strip.shape[1] / strip.shape[0], rel=1e-3
        )
