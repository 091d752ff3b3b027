"""Videos: which file is meant, and its frames by number.

FFmpeg through PyAV, and nothing else, reads videos: training, features,
contours and AVA see the same frames. A frame's number counts what is shown:
frames that a cut without re-encoding hides are left out, and where frames are
stored in another order, or two in one packet, the order of display counts.

Shapes: N frames of H x W pixels, turned as the file says.
"""

from __future__ import annotations

import errno
import math
import os
import stat
import time
import zlib
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import TYPE_CHECKING

import cv2
import numpy as np

from bimm_mm.utils.origin import MARK, FrameGridError, Origin, round_down

if TYPE_CHECKING:
    # Else where a video is opened: whoever takes the encoder may lack it.
    from av import Packet
    from av.container import InputContainer
    from av.video.frame import VideoFrame

# Of the environment: the folder of notes, and a list of files, a path per
# line, with blanks for line breaks, at which a worker died.
NOTES = 'BIMM_MMNOTES'
FATAL_FILES = 'BIMM_MMFATAL_FILES'

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
_END = 64 * 1024  # bytes at each end of a file that are compared


class UndecodableVideoError(RuntimeError):
    """A video or image ``path`` that cannot be decoded, for a ``reason``."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        if self.reason == os.strerror(errno.ENOENT):
            return f'{self.path}: there is no such file'
        return f'{self.path} cannot be decoded: {self.reason}'


class VideoReader:
    """Frames of one file. Use it in a ``with`` statement, or close it.

    Args:
        path: The file; ``.mp4`` is added to a name without an ending. Of a
            copy (:mod:`bimm_mm.utils.origin`) length, rate and numbers of
            frames are those of its source.
        seconds: How long opening the file, and reading a sample, may take.

    An UndecodableVideoError if it is missing, no regular file, empty, no
    video, damaged or too large.
    """

    fps: float  # on average; 0 if the file does not say
    stride: int = 1  # one of so many frames is stored; 1 but for copies

    def __init__(self, path: str, *, seconds: float = _MAX_SECONDS) -> None:
        from av.video.reformatter import VideoReformatter

        self.path = path
        self.file = media_file(path)
        note_reading(path)
        self._seconds = seconds
        self._size: tuple[int, int] | None = None
        self._converter = VideoReformatter()
        with self._named_errors():
            self._open()
            tag = self._container.metadata.get('comment', '')
            self.origin = Origin.of_tag(tag) if MARK in tag else None
            if self.origin:
                self._trust_index(self.origin)
            else:
                self._read_index()

    def __len__(self) -> int:
        return self.origin.frames if self.origin else len(self._times)

    @property
    def source(self) -> dict[str, int]:
        """Length and checksum of the file, or of that it is a copy of."""
        if self.origin:
            return self.origin.source
        return length_and_checksum(self.file)

    def round_down(
        self,
        indices: np.ndarray,
        *,
        interval: int | None = None,
        following: bool = False,
    ) -> np.ndarray:
        """Move frames to those that are stored, see :func:`round_down`."""
        if self.stride == 1:
            return indices
        return round_down(
            indices,
            self.stride,
            interval=interval,
            following=following,
            where=f'the copy {self.path}',
            remedy='copy the videos with an --every that divides it',
        )

    def get_batch(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Decode frames as one array (N, H, W, 3), see :meth:`read`."""
        return np.stack(self.read(indices))

    def read(self, indices: Sequence[int] | np.ndarray) -> list[np.ndarray]:
        """Decode frames (H, W, 3), uint8 RGB, in any order, repeated or not.

        Raises:
            IndexError: If there is no frame of such a number.
            FrameGridError: If a copy lacks one.
            UndecodableVideoError: If one cannot be decoded.
        """
        numbers = np.unique(indices).tolist()
        if numbers[0] < 0 or numbers[-1] >= len(self):
            raise IndexError(
                f'{self.path} has frames 0 to {len(self) - 1}, asked were '
                f'{numbers[0]} to {numbers[-1]}'
            )
        context = self._stream.codec_context
        pixels = context.width * context.height
        if pixels > _MAX_PIXELS or len(numbers) * pixels * 3 > _MAX_BYTES:
            raise self._fault(
                f'{len(numbers)} frame(s) of {context.width} x '
                f'{context.height} pixels are more than a sample may hold: '
                'make it smaller'
            )
        found = dict(zip(numbers, self.iterate(numbers), strict=True))
        frames = [found[index] for index in indices]
        repeated = len(found) < len(frames)
        return [frame.copy() for frame in frames] if repeated else frames

    def iterate(
        self, indices: Sequence[int], *, side: int | None = None
    ) -> Iterator[np.ndarray]:
        """Decode frames one by one: memory does not grow with the video.

        Args:
            indices: Their numbers, ascending.
            side: Short side in pixels, at most, see :func:`shrink`.
        """
        from av import FFmpegError

        if lacking := [index for index in indices if index % self.stride]:
            raise FrameGridError(
                f'{self.path} is a copy that has one of {self.stride} frames '
                f'of its source, not frame {lacking[0]}: ask for multiples of '
                f'{self.stride}, or read the source'
            )
        places, decoded = [index // self.stride for index in indices], 0
        with self._named_errors():
            while True:
                try:
                    for frame in self._decode(places[decoded:]):
                        decoded += 1
                        image = self._to_rgb(frame)
                        yield image if side is None else shrink(image, side)
                    return
                except (FFmpegError, UndecodableVideoError):
                    if len(self._keys) <= 1:
                        raise
                # What follows a key frame may need frames before it (open
                # groups of pictures): try again from the start.
                del self._keys[1:]

    def close(self) -> None:
        """Close the file."""
        self._container.close()
        note_reading()

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _open(self) -> None:
        import av
        from av.stream import Disposition

        try:
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
        except av.ArgumentError:  # a format outside the list
            raise self._fault(
                'it is in none of the formats of videos'
            ) from None
        stream = self._container.streams.best('video')
        # A cover picture is a video stream, too.
        if (
            not isinstance(stream, av.VideoStream)
            or stream.disposition & Disposition.attached_pic
        ):
            raise self._fault('it has no video stream')
        if stream.codec_context is None:
            raise self._fault('FFmpeg has no decoder for it')
        stream.codec_context.options = _STRICT
        # One thread: dataloaders have their own processes.
        stream.thread_type = 'NONE'
        self._stream = stream

    def _read_index(self) -> None:
        """Read when frames are shown, and at which of them decoding can start.

        That takes every packet, but no decoding. Where times are not known,
        frames are counted instead.
        """
        times, keys, count = list[int](), list[int](), 0
        deadline = time.monotonic() + self._seconds
        for packet in self._packets():
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
            raise self._fault('it has no frame')
        seekable = (
            self._container.format.name in _INDEXED
            and self._stream.codec_context.name != _PACKED
            and len(set(times)) == count
        )
        self._times = sorted(times) if seekable else range(count)
        self._keys = sorted(keys) if seekable else []
        self.fps = float(self._stream.average_rate or 0)

    def _trust_index(self, origin: Origin) -> None:
        """Take the index of a copy, which we wrote, instead of reading it."""
        entries = self._stream.index_entries
        if len(entries) != origin.stored:
            raise self._fault('it is a copy that lacks frames')
        self.fps, self.stride = origin.fps, origin.stride
        self._times = [entry.timestamp for entry in entries]
        self._keys = [e.timestamp for e in entries if e.is_keyframe]

    def _to_rgb(self, frame: VideoFrame) -> np.ndarray:
        """(H, W, 3) uint8, turned as the file says.

        A stream may change its size; its frames have that of the first one.
        """
        self._size = self._size or (frame.width, frame.height)
        width, height = self._size
        # Else every frame starts threads of its own, which takes time and,
        # over epochs, memory (PyAV #2200, #2379).
        convert = self._converter.reformat
        image = convert(frame, width, height, 'rgb24', threads=1).to_ndarray()
        # FFmpeg's own memory, with gaps between rows, which nobody minds.
        if not frame.rotation:
            return image
        return np.ascontiguousarray(np.rot90(image, frame.rotation // 90))

    def _decode(self, indices: Sequence[int]) -> Iterator[VideoFrame]:
        """The frames, each from the last key frame before it on."""
        deadline = time.monotonic() + self._seconds
        shown = -math.inf  # time of the last frame decoded
        frames: Iterator[tuple[float, VideoFrame]] = iter(())
        for index in indices:
            wanted = self._times[index]
            before = bisect_right(self._keys, wanted)
            start = self._keys[max(before - 1, 0)] if self._keys else -1
            if start > shown:
                frames = self._frames_from(start)
            for shown, frame in frames:
                _check_time(deadline)
                if shown == wanted:
                    yield frame
                    break
            else:
                raise self._fault(
                    'it is cut off or damaged: not every frame that it '
                    'announces can be decoded'
                )

    def _frames_from(self, key: int) -> Iterator[tuple[float, VideoFrame]]:
        """Frames with their times, or numbers where frames are counted."""
        if self._keys:
            self._container.seek(key, stream=self._stream)
        else:
            self._container.close()
            self._open()
        frames = (f for packet in self._packets() for f in packet.decode())
        for number, frame in enumerate(frames):
            shown = frame.pts if self._keys else number
            yield -math.inf if shown is None else shown, frame

    def _packets(self) -> Iterator[Packet]:
        # "yield from" closes PyAV's generator if this one is dropped. Else it
        # frees nothing (cython #6405: wheels of the limited API have no
        # finalizers), and Container.decode drops one.
        yield from self._container.demux(self._stream)

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        import av

        try:
            yield
        except (av.ExitError, TimeoutError):
            raise self._fault('reading it takes too long') from None
        except (av.FFmpegError, OSError) as error:
            raise self._fault(error.strerror or str(error)) from None
        except _STUMBLES:
            raise self._fault('it is damaged') from None

    def _fault(self, reason: str) -> UndecodableVideoError:
        return UndecodableVideoError(self.path, reason)


def _check_time(deadline: float) -> None:
    if time.monotonic() > deadline:
        raise TimeoutError


def shrink(frame: np.ndarray, side: int) -> np.ndarray:
    """Make a picture smaller, never larger, by the mean over areas.

    (H, W, 3) uint8 becomes (h, w, 3) with a short side of ``side`` pixels at
    most.
    """
    height, width = frame.shape[:2]
    short = min(height, width)
    if short <= side:
        return frame
    size = (round(width * side / short), round(height * side / short))
    return cv2.resize(frame, size, interpolation=cv2.INTER_AREA)


def media_name(path: str) -> str:
    """The file that is meant: ``a.mp4`` where a list names ``a``.

    That is how mmaction2's ``DecordInit`` reads lists.
    """
    return path if os.path.splitext(path)[1] else f'{path}.mp4'


def media_file(path: str) -> str:
    """The file that is meant, see :func:`media_name`, if it is a file.

    Raises:
        UndecodableVideoError: If there is none, if it is empty or no regular
            file, such as a FIFO, which would be waited for, or if a worker of
            this run died at it.
    """
    if path.replace('\n', ' ') in fatal_files(os.environ.get(FATAL_FILES, '')):
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


def length_and_checksum(path: str) -> dict[str, int]:
    """Numbers to know a file again: ``bytes``, ``crc32`` of its two ends.

    The first and last 64 KiB are read, no more: a change in the middle of a
    larger file that keeps its length is not seen.
    """
    with open(path, 'rb') as stream:
        length = os.fstat(stream.fileno()).st_size
        checksum = zlib.crc32(stream.read(_END))
        # Of a short file, what the first part did not have.
        stream.seek(max(length - _END, min(length, _END)))
        checksum = zlib.crc32(stream.read(_END), checksum)
    return {'bytes': length, 'crc32': checksum}


def check_access(file: str) -> None:
    """Raise the system's OSError if a file is missing or may not be read."""
    os.stat(file)
    if not os.access(file, os.R_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), file)


def note_reading(path: str = '') -> None:
    """Say which file this process is about to read; none by default."""
    if folder := os.environ.get(NOTES):
        content = os.fsencode(path.replace('\n', ' ')) + b'\0'
        with suppress(OSError):  # a full disk is no reason not to read
            os.pwrite(_note_file(folder, os.getpid()), content, 0)


@lru_cache(maxsize=1)
def _note_file(folder: str, process: int) -> int:
    return os.open(f'{folder}/{process}', os.O_RDWR | os.O_CREAT, 0o600)


@lru_cache(maxsize=1)
def fatal_files(listed: str) -> frozenset[str]:
    """The files of a list; none if it is not there, or has no name."""
    if not os.path.exists(listed):
        return frozenset()
    with open(listed, 'rb') as stream:
        lines = stream.read().split(b'\n')
    return frozenset(os.fsdecode(line) for line in lines if line)
