"""Images are read as mmcv reads them, or refused by name."""

from __future__ import annotations

import os
import random
import time
import zlib
from pathlib import Path

import cv2
import mmcv
import numpy as np
import pytest
from mmaction.datasets.transforms import RawFrameDecode
from mmcv.transforms import LoadImageFromFile
from mmseg.datasets.transforms import LoadAnnotations
from PIL import Image

import bimm_mm.compat  # noqa: F401  the libraries' classes refuse as well
from bimm_mm.utils.image import read_image, read_small_image
from bimm_mm.utils.video import UndecodableVideoError


def picture(size: tuple[int, int] = (64, 48)) -> Image.Image:
    """Fields of color, which JPEG files keep apart."""
    rng = np.random.default_rng(0)
    fields = rng.integers(0, 256, (3, 4, 3), np.uint8)
    return Image.fromarray(fields).resize(size, Image.Resampling.NEAREST)


def write_photos(folder: Path) -> list[Path]:
    """Photographs of every kind of file that OpenCV may meet."""
    photo = picture()
    turned = Image.Exif()
    turned[0x0112] = 6
    photo.save(folder / 'turned.jpg', exif=turned, quality=95)
    photo.save(folder / 'progressive.jpg', progressive=True)
    photo.save(folder / 'restarts.jpg', restart_marker_blocks=2)
    photo.convert('L').save(folder / 'gray.png')
    photo.convert('L').save(folder / 'gray.jpg')
    photo.convert('CMYK').save(folder / 'cmyk.jpg')
    photo.convert('P').save(folder / 'palette.png')
    photo.convert('RGBA').save(folder / 'alpha.png')
    photo.convert('1').save(folder / 'bits.png')
    photo.save(folder / 'moving.gif', save_all=True, append_images=[photo])
    photo.save(folder / 'two.jpg', 'MPO', save_all=True, append_images=[photo])
    deep = np.random.default_rng(0).integers(0, 65536, (48, 64), np.uint16)
    cv2.imwrite(str(folder / 'deep.png'), deep)
    cv2.imwrite(str(folder / 'deep.tif'), deep)
    photo.save(folder / 'plain.webp')
    with open(folder / 'plain.webp', 'rb') as stream:
        (folder / 'renamed.jpg').write_bytes(stream.read())
    trailing = folder / 'trailing.jpg'
    photo.save(trailing)
    trailing.write_bytes(trailing.read_bytes() + b'more' * 99)
    return sorted(folder.iterdir())


def test_images_are_those_of_mmcv(tmp_path):
    photos = write_photos(tmp_path)
    assert len(photos) == 16
    for path in photos:
        wanted = mmcv.imread(str(path))
        frame, size = read_small_image(str(path), 10_000)
        np.testing.assert_array_equal(frame, wanted[..., ::-1], str(path))
        assert size == ((64, 48) if path.name == 'turned.jpg' else (48, 64))
        loaded = LoadImageFromFile()({'img_path': str(path)})
        np.testing.assert_array_equal(loaded['img'], wanted, str(path))
        assert loaded['img_shape'] == loaded['ori_shape'] == size


def refuse(path: Path, reason: str) -> None:
    """Neither reader decodes the file, and both name it, at once."""
    start = time.monotonic()
    with pytest.raises(UndecodableVideoError, match=reason) as error:
        read_image(str(path))
    assert error.value.path == str(path)
    assert '\n' not in error.value.reason
    assert 'object' not in error.value.reason
    # A wrong path is the user's error, not the file's.
    expected = UndecodableVideoError if path.exists() else FileNotFoundError
    with pytest.raises(expected, match=path.name):
        LoadImageFromFile()({'img_path': str(path)})
    assert time.monotonic() - start < 5


def test_what_is_no_image_is_refused(tmp_path):
    os.mkfifo(tmp_path / 'pipe.jpg')
    (tmp_path / 'empty.jpg').touch()
    (tmp_path / 'folder.jpg').mkdir()
    (tmp_path / 'zero.jpg').symlink_to('/dev/zero')
    (tmp_path / 'text.jpg').write_text('<html>404</html>' * 50)
    with open(tmp_path / 'sparse.jpg', 'wb') as stream:
        stream.truncate(2**33)
    picture().save(tmp_path / 'tail.png')
    os.truncate(tmp_path / 'tail.png', 2**33)
    for name, reason in (
        ('pipe.jpg', 'no regular file'),
        ('folder.jpg', 'no regular file'),
        ('zero.jpg', 'no regular file'),
        ('empty.jpg', 'empty'),
        ('nowhere.jpg', 'there is no such file'),
        ('text.jpg', 'it is no image'),
        ('sparse.jpg', 'larger than 1 GB'),
        ('tail.png', 'larger than 1 GB'),
    ):
        refuse(tmp_path / name, reason)


def write_bomb(path: Path, side: int) -> None:
    """A PNG file of side x side black pixels in a few kilobytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = zlib.crc32(kind + data).to_bytes(4, 'big')
        return len(data).to_bytes(4, 'big') + kind + data + checksum

    sides = side.to_bytes(4, 'big') * 2
    head = chunk(b'IHDR', sides + bytes([1, 0, 0, 0, 0]))
    rows = zlib.compress(bytes((side // 8 + 1) * side))
    body = chunk(b'IDAT', rows) + chunk(b'IEND', b'')
    path.write_bytes(b'\x89PNG\r\n\x1a\n' + head + body)


def test_too_many_pixels_are_refused_unless_allowed(tmp_path, monkeypatch):
    write_bomb(tmp_path / 'bomb.png', 20_000)
    refuse(tmp_path / 'bomb.png', 'more pixels than .*MAX_IMAGE_PIXELS')
    picture().save(tmp_path / 'small.png')
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 64 * 48 // 2 - 1)
    refuse(tmp_path / 'small.png', 'more pixels')
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', None)
    assert read_image(str(tmp_path / 'small.png')).shape == (48, 64, 3)


@pytest.mark.parametrize('ending', ['jpg', 'png', 'gif', 'webp', 'bmp'])
def test_truncated_images_are_refused_in_silence(tmp_path, ending, capfd):
    path = tmp_path / f'a.{ending}'
    picture((200, 150)).save(path)
    content = path.read_bytes()
    for share in (0.4, 0.7, 0.95):
        path.write_bytes(content[: int(share * len(content))])
        refuse(path, 'damaged|no image')
    assert capfd.readouterr().err == ''


def test_damage_inside_a_jpeg_is_noticed(tmp_path):
    path = tmp_path / 'a.jpg'
    rng = random.Random(0)
    noise = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    photo = Image.fromarray(noise).resize((400, 300))
    by_opencv = refused = 0
    for progressive in (False, True):
        photo.save(path, progressive=progressive, quality=90)
        content = path.read_bytes()
        for _ in range(30):
            damaged = bytearray(content)
            start = rng.randrange(1000, len(content) - 300)
            damaged[start : start + 200] = rng.randbytes(200)
            path.write_bytes(damaged)
            buffer = np.frombuffer(damaged, np.uint8)
            by_opencv += cv2.imdecode(buffer, cv2.IMREAD_COLOR) is None
            try:
                read_image(str(path))
            except UndecodableVideoError as error:
                assert error.reason == 'it is damaged'
                refused += 1
    assert by_opencv < 20 < 35 < refused


@pytest.mark.parametrize('bits', [10, 12, 14])
@pytest.mark.parametrize('ending', ['png', 'tif'])
def test_sixteen_bits_hardly_used_are_no_black_picture(tmp_path, ending, bits):
    path = tmp_path / f'a.{ending}'
    rng = np.random.default_rng(0)
    for shape in ((48, 64), (48, 64, 3)):
        cv2.imwrite(str(path), rng.integers(0, 2**bits, shape, np.uint16))
        refuse(path, '16 bits.* come out dark; save it with 8 bits')


def test_frames_of_folders_are_refused_by_name(tmp_path):
    frames = []
    for number in (1, 2):
        frames.append(tmp_path / f'img_{number:05}.jpg')
        picture((200, 150)).save(frames[-1], quality=90)
    sample = dict(
        frame_dir=str(tmp_path),
        filename_tmpl='img_{:05}.jpg',
        modality='RGB',
        frame_inds=np.array([1, 2]),
    )
    decoded = RawFrameDecode()(dict(sample))['imgs']
    np.testing.assert_array_equal(
        decoded[1], mmcv.imread(str(frames[1]))[..., ::-1]
    )
    os.truncate(frames[1], frames[1].stat().st_size // 2)
    with pytest.raises(UndecodableVideoError, match=r'00002\.jpg'):
        RawFrameDecode()(dict(sample))
    frames[1].unlink()
    with pytest.raises(FileNotFoundError, match=r'00002\.jpg'):
        RawFrameDecode()(dict(sample))


def test_maps_of_classes_are_refused_by_name(tmp_path):
    path = tmp_path / 'a.png'
    classes = np.random.default_rng(0).integers(0, 9, (48, 64), np.uint8)
    Image.fromarray(classes).save(path)
    load = LoadAnnotations(reduce_zero_label=False)
    sample = dict(seg_map_path=str(path), reduce_zero_label=False)
    loaded = load({**sample, 'seg_fields': []})
    np.testing.assert_array_equal(loaded['gt_seg_map'], classes)
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b'text' * 99, b''):
        path.write_bytes(content)
        with pytest.raises(UndecodableVideoError, match=r'a\.png') as error:
            load({**sample, 'seg_fields': []})
        assert ' at 0x' not in error.value.reason
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(UndecodableVideoError, match='no regular file'):
        load({**sample, 'seg_fields': []})
