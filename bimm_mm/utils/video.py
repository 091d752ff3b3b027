"""Videos: which file is meant, and its frames by number.

FFmpeg through PyAV, and nothing else, reads videos: training, features,
contours and AVA see the same frames. A frame's number counts what is shown:
frames that a cut without re-encoding hides are left out, and where frames are
stored in another order, or two in one packet, the order of display counts.

Shapes: N frames of H x W pixels, turned as the file says.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import time
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
from mmengine.structures import BaseDataElement

from bimm_mm.utils.reading import is_fatal, note_reading

if TYPE_CHECKING:
    # Imported where a video is opened: whoever takes the encoder into a
    # detector need not have it.
    from av.container import InputContainer
    from av.video.frame import VideoFrame

# What a dataset knows about a sample, what a pipeline passes on, or a packed
# data sample.
Sample: TypeAlias = Mapping[str, Any] | BaseDataElement

# bimm_mm.PackClipInputs; mmaction2; mmpretrain, mmdet and mmsegmentation;
# mmaction2's datasets of frame folders.
PATH_KEYS = ('path', 'filename', 'img_path', 'frame_dir')
LABEL_KEYS = ('gt_label', 'label')

# Containers of video. What else FFmpeg reads may name other files or
# addresses (playlists), or is text.
_FORMATS = (
    'mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,asf,mpeg,mpegts,mpegvideo,'
    'flv,ogg,h264,hevc,m4v,mjpeg,gif,ivf,rm,dv,mxf,nut,vob,swf,av1,obu'
)
# Those whose index gives every frame's time, so that one can start anywhere.
# MPEG-4 part 2 may hold two frames in a packet, in any of them.
_INDEXED = ('mov,mp4,m4a,3gp,3g2,mj2', 'matroska,webm')
_PACKED = 'mpeg4'
# PyAV stumbles over streams that appear in the middle of damaged files.
_STUMBLES = (ValueError, LookupError, ArithmeticError)
_MAX_PIXELS = 2**26  # of a frame: 8192 x 8192
# Else decoders make up what a damaged file lacks.
_STRICT = {'err_detect': 'explode', 'max_pixels': str(_MAX_PIXELS)}
_MAX_BYTES = 2**31  # of a sample's frames
_MAX_SECONDS = 60.0
_TOO_LONG = 'reading it takes too long'


class UndecodableVideoError(RuntimeError):
    """A video or image that cannot be decoded.

    Args:
        path: The file.
        reason: What the decoder said.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f'{self.path} cannot be decoded: {self.reason}'


def find_path(sample: Sample) -> str | None:
    """Path of the video or image of a sample; None if it names none."""
    for key in PATH_KEYS:
        if key in sample:
            return str(sample.get(key))
    return None


def media_path(sample: Sample) -> str:
    """Path of the video or image of a sample.

    Raises:
        KeyError: If it names none.
    """
    path = find_path(sample)
    if path is None:
        raise KeyError(
            f'a sample has none of {", ".join(map(repr, PATH_KEYS))}; it has '
            f'{sorted(sample.keys())}'
        )
    return path


def find_label(sample: Mapping[str, Any]) -> int | None:
    """Class of a sample; None if it has no class, or several."""
    for key in LABEL_KEYS:
        label = sample.get(key)
        if isinstance(label, int | np.integer):
            return int(label)
    return None


def media_name(path: str) -> str:
    """The file that is meant: ``a.mp4`` where a list names ``a``.

    That is how mmaction2's ``DecordInit`` reads lists.
    """
    return path if os.path.splitext(path)[1] else f'{path}.mp4'


class _FaultError(Exception):
    """What is wrong with a file, in words of our own."""


class _Index(NamedTuple):
    """When frames are shown, and where decoding can start.

    Args:
        times: Of every frame, in order of display.
        keys: Of frames that need no other, a part of ``times``.
    """

    times: list[int]
    keys: list[int]


class VideoReader:
    """Frames of one file. Use it in a ``with`` statement, or close it.

    Args:
        path: The file; ``.mp4`` is added to a name without an ending.
        seconds: How long opening the file, and reading a sample, may take.

    Raises:
        UndecodableVideoError: If it is missing, no regular file, empty, no
            video, damaged or too large.
    """

    def __init__(self, path: str, *, seconds: float = _MAX_SECONDS) -> None:
        self.path = path
        self.file = media_file(path)
        note_reading(path)
        self._seconds = seconds
        self._size: tuple[int, int] | None = None
        with self._named_errors():
            self._open()
            self._index = self._read_index()

    def __len__(self) -> int:
        """How many frames are shown."""
        return len(self._index.times)

    @property
    def fps(self) -> float:
        """Frames per second on average; 0 if the file does not say."""
        return float(self._stream.average_rate or 0)

    def get_batch(self, indices: Sequence[int]) -> np.ndarray:
        """Decode frames.

        Args:
            indices: Their numbers, in any order, repeated or not.

        Returns:
            (N, H, W, 3) uint8 RGB.

        Raises:
            IndexError: If there is no frame of such a number.
            UndecodableVideoError: If one cannot be decoded.
        """
        numbers, places = np.unique(indices, return_inverse=True)
        if numbers[0] < 0 or numbers[-1] >= len(self):
            raise IndexError(
                f'{self.path} has frames 0 to {len(self) - 1}, asked were '
                f'{numbers[0]} to {numbers[-1]}'
            )
        self._check_size(len(numbers))
        frames = np.stack(list(self.iterate(numbers.tolist())))
        # Indexing copies: not where they are in order already, as usual.
        in_order = np.array_equal(places, np.arange(len(numbers)))
        return frames if in_order else frames[places]

    def iterate(self, indices: Sequence[int]) -> Iterator[np.ndarray]:
        """Decode frames one by one.

        Args:
            indices: Their numbers, ascending.

        Yields:
            (H, W, 3) uint8 RGB each.

        Raises:
            UndecodableVideoError: If one cannot be decoded.
        """
        from av import FFmpegError

        with self._named_errors():
            decoded = 0
            while True:
                try:
                    for frame in self._decode(indices[decoded:]):
                        decoded += 1
                        yield self._to_rgb(frame)
                except FFmpegError:
                    if len(self._index.keys) <= 1:
                        raise
                if decoded == len(indices):
                    return
                if len(self._index.keys) <= 1:
                    raise _FaultError(
                        'it is cut off or damaged: not every frame that it '
                        'announces can be decoded'
                    )
                # What follows a key frame may need frames before it (open
                # groups of pictures): try again from the start.
                self._index = self._index._replace(keys=self._index.keys[:1])

    def close(self) -> None:
        """Close the file."""
        self._container.close()
        note_reading()

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _open(self) -> None:
        if hasattr(self, '_container'):
            self._container.close()
        import av
        from av.stream import Disposition

        self._used = False
        self._container: InputContainer = av.open(
            self.file,
            options={
                'protocol_whitelist': 'file',
                'format_whitelist': _FORMATS,
            },
            metadata_errors='replace',
            # Of one packet, which the clock below does not see.
            timeout=min(self._seconds, _MAX_SECONDS),
        )
        stream = self._container.streams.best('video')
        # A cover picture is a video stream, too.
        if (
            not isinstance(stream, av.VideoStream)
            or stream.disposition & Disposition.attached_pic
        ):
            raise _FaultError('it has no video stream')
        self._stream = stream
        if self._stream.codec_context is None:
            raise _FaultError('FFmpeg has no decoder for it')
        self._stream.codec_context.options = _STRICT
        # One thread: dataloaders have their own processes.
        self._stream.thread_type = 'NONE'
        self._seekable = (
            self._container.format.name in _INDEXED
            and self._stream.codec_context.name != _PACKED
        )

    def _read_index(self) -> _Index:
        """Read every packet's time, without decoding."""
        self._used = True
        times: list[int] = []
        keys: list[int] = []
        count = 0
        deadline = time.monotonic() + self._seconds
        for packet in self._container.demux(self._stream):
            if not packet.size:
                continue  # the end
            # A hidden frame is discarded, but decoding may start at it.
            count += not packet.is_discard
            if packet.pts is not None:
                if not packet.is_discard:
                    times.append(packet.pts)
                if packet.is_keyframe:
                    keys.append(packet.pts)
            _check_time(deadline)
        if not count:
            raise _FaultError('it has no frame')
        if not self._seekable or len(set(times)) < count:
            return _Index(list(range(count)), [])
        return _Index(sorted(times), sorted(keys))

    def _to_rgb(self, frame: VideoFrame) -> np.ndarray:
        """(H, W, 3) uint8, turned as the file says.

        A stream may change its size; its frames have that of the first one.
        """
        self._size = self._size or (frame.width, frame.height)
        width, height = self._size
        image = frame.to_ndarray(format='rgb24', width=width, height=height)
        return np.ascontiguousarray(np.rot90(image, frame.rotation // 90))

    def _check_size(self, frames: int) -> None:
        context = self._stream.codec_context
        pixels = context.width * context.height
        if pixels > _MAX_PIXELS or frames * pixels * 3 > _MAX_BYTES:
            raise UndecodableVideoError(
                self.path,
                f'{frames} frame(s) of {context.width} x {context.height} '
                'pixels are more than a sample may hold: make it smaller',
            )

    def _decode(self, indices: Sequence[int]) -> Iterator[VideoFrame]:
        """The frames, as far as there are some."""
        deadline = time.monotonic() + self._seconds
        if self._index.keys:
            return self._decode_by_time(indices, deadline)
        return self._decode_by_count(indices, deadline)

    def _decode_by_time(
        self, indices: Sequence[int], deadline: float
    ) -> Iterator[VideoFrame]:
        """Start at the last key frame before a frame; recognize it by time."""
        shown: int | None = None  # time of the last frame decoded
        frames: Iterator[VideoFrame] = iter(())
        for index in indices:
            wanted = self._index.times[index]
            before = bisect_right(self._index.keys, wanted)
            key = self._index.keys[max(before - 1, 0)]
            if shown is None or key > shown:
                self._container.seek(key, stream=self._stream)
                frames = self._container.decode(self._stream)
            for frame in frames:
                _check_time(deadline)
                shown = frame.pts
                if shown == wanted:
                    yield frame
                    break
            else:
                return

    def _decode_by_count(
        self, indices: Sequence[int], deadline: float
    ) -> Iterator[VideoFrame]:
        """Decode from the start and count what is shown."""
        if self._used:
            self._open()
        self._used = True
        wanted = iter(indices)
        index = next(wanted, None)
        for number, frame in enumerate(self._container.decode(self._stream)):
            _check_time(deadline)
            if number == index:
                yield frame
                index = next(wanted, None)
            if index is None:
                return

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        import av

        try:
            yield
        except av.ExitError:
            raise UndecodableVideoError(self.path, _TOO_LONG) from None
        except (av.FFmpegError, OSError, _FaultError) as error:
            reason = getattr(error, 'strerror', None) or str(error)
            raise UndecodableVideoError(self.path, reason) from None
        except _STUMBLES:
            raise UndecodableVideoError(self.path, 'it is damaged') from None


def media_file(path: str) -> str:
    """The file that is meant, see :func:`media_name`, if it is a file.

    Raises:
        UndecodableVideoError: If there is none, if it is empty or no regular
            file, such as a FIFO, which would be waited for, or if a worker
            of this run died at it.
    """
    if is_fatal(path):
        raise UndecodableVideoError(path, 'a worker died while reading it')
    file = media_name(path)
    try:
        status = os.stat(file)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UndecodableVideoError(path, reason) from None
    if not stat.S_ISREG(status.st_mode):
        raise UndecodableVideoError(path, 'it is no regular file')
    if not status.st_size:
        raise UndecodableVideoError(path, 'the file is empty')
    return file


def check_access(file: str) -> None:
    """Raise the system's OSError if a file is missing or may not be read."""
    os.stat(file)
    if not os.access(file, os.R_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), file)


def _check_time(deadline: float) -> None:
    if time.monotonic() > deadline:
        raise _FaultError(_TOO_LONG)


def one_line(error: Exception, limit: int = 200) -> str:
    """An error as one short line."""
    # No addresses of objects, no codes of terminals.
    text = re.sub(r' at 0x[0-9a-f]+|\x1b\[[0-9;]*m', '', str(error))
    text = ' '.join(text.split())
    return f'{type(error).__name__}: {text}'[:limit]
