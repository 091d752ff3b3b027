"""Lists of videos, images and boxes: one check for all of them.

The libraries read a line without a label as class -1, an empty one as a video
with the name of the folder, a byte order mark as a part of the first path;
other mistakes end in errors that name neither file nor line.
"""

from __future__ import annotations

import codecs
import os
import os.path as osp
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bimm_mm.utils.files import regular_file

# What mmpretrain's folder datasets read; contours look for the same.
FOLDER_IMAGES = frozenset(
    ('.bmp', '.jpeg', '.jpg', '.pgm', '.png', '.ppm', '.tif')
)
# A line, stripped, and the dataset's arguments -> path, or a ValueError.
Row = Callable[[str, Mapping[str, Any]], str]

_ENCODING = 'save it as UTF-8 without a byte order mark'
_MARKS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_ROW = (
    'Each line names a file and its class, like "dancing/a.mp4 0" '
    '(pretraining ignores the class: 0 will do)'
)
_AVA_ROW = (
    'A row is video,second,x1,y1,x2,y2,action,person with corners in shares '
    'of width and height, in [0, 1], and actions from 1'
)
# Files whose access is asked for in one go, and threads that ask: a network
# file system answers many at a time.
_CHUNK = 10_000
_FOR_ALL = stat.S_IRUSR | stat.S_IRGRP | stat.S_IROTH
_THREADS = 16
_NAMED = 3  # so many unreadable files are


def read_lines(path: str) -> list[str]:
    """Lines of a text file, as MMEngine splits them.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be read or is not in UTF-8.
    """
    try:
        content = regular_file(path).read_bytes()
    except FileNotFoundError:
        raise FileNotFoundError(f'the list {path} does not exist') from None
    except OSError as error:
        raise ValueError(
            f'the list {path} cannot be read: {error.strerror}'
        ) from None
    if content.startswith(_MARKS) or b'\0' in content:
        raise ValueError(
            f'the list {path} begins with a byte order mark or is in UTF-16: '
            f'{_ENCODING}'
        )
    try:
        lines = content.decode().removesuffix('\n').split('\n')
    except UnicodeDecodeError as error:
        number = content.count(b'\n', 0, error.start) + 1
        raise ValueError(
            f'{path}, line {number}: byte 0x{content[error.start]:02x} is not '
            f'UTF-8 (Latin-1?): {_ENCODING}'
        ) from None
    return [] if lines == [''] else [line.rstrip('\r') for line in lines]


def read_list(path: str, row: Row, options: Mapping[str, Any]) -> list[str]:
    """The path in every line of a list, read by ``row``.

    ``options`` are the arguments of the dataset.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If something is wrong with it; names the line.
    """
    found = []
    lines = read_lines(path)
    if not lines and row is not _exclusion:
        raise ValueError(f'the list {path} is empty')
    for number, line in enumerate(lines, 1):
        try:
            if not line.strip():
                raise ValueError('the line is empty: delete it')
            found.append(row(line.strip(), options))
        except ValueError as error:
            header = number == 1 and not any(map(str.isdigit, line))
            hint = 'a header, which must go? ' if header else ''
            raise ValueError(
                f'{path}, line {number}, {line[:200]!r}: {hint}{error}'
            ) from None
    return found


def read_dataset(kind: str, options: Mapping[str, Any]) -> list[str]:
    """Read the lists of a dataset as it will, and return what they name.

    Args:
        kind: Name of the class that reads it.
        options: Its arguments, with paths joined.

    Returns:
        Paths below the dataset's ``data_prefix``, one per line; none if it
        has no list or is of another kind.

    Raises:
        FileNotFoundError: If a list does not exist.
        ValueError: If something is wrong with one.
    """
    row = ROWS.get(kind)
    if row is _image and not options.get('ann_file'):
        _check_folders(options)
    if row is None or not options.get('ann_file'):
        return []
    if row is _ava and options.get('exclude_file'):
        read_list(options['exclude_file'], _exclusion, options)
    return read_list(options['ann_file'], row, options)


def type_name(config: Mapping[str, Any]) -> str:
    """Name of the class that a config is of, without a library's prefix."""
    kind = config['type']
    return getattr(kind, '__name__', kind).rsplit('.', 1)[-1]


def unreadable(paths: Sequence[str], *, folders: bool = False) -> list[str]:
    """Those of many paths that are not there or may not be read, in order.

    Also those that are folders, or, if ``folders`` are meant, are none. What
    all may read costs one call each: a million on a local disk took 2.6 s of
    one core.
    """

    def refused(path: str) -> bool:
        try:
            mode = os.stat(path).st_mode
        except OSError:
            return True
        for_all = mode & _FOR_ALL == _FOR_ALL
        readable = for_all or os.access(path, os.R_OK)
        return not readable or stat.S_ISDIR(mode) != folders

    def part(start: int) -> list[str]:
        return [x for x in paths[start : start + _CHUNK] if refused(x)]

    with ThreadPoolExecutor(_THREADS) as pool:
        parts = pool.map(part, range(0, len(paths), _CHUNK))
        return [path for part in parts for path in part]


def check_readable(
    paths: Sequence[str], *, source: str, remedy: str, folders: bool = False
) -> None:
    """Raise a FileNotFoundError that counts unreadable files, with reasons.

    ``source`` is what names them, ``remedy`` what to do.
    """
    if bad := unreadable(paths, folders=folders):
        named = ', '.join(f'{path} ({_reason(path)})' for path in bad[:_NAMED])
        raise FileNotFoundError(
            f'{source}: {len(bad)} of the {len(paths)} files that it names '
            f'cannot be read: {named}{", ..." if len(bad) > _NAMED else ""}: '
            f'{remedy}'
        )


def _reason(path: str) -> str:
    if osp.islink(path) and not osp.exists(path):
        return f'a link to {os.readlink(path)}, which does not exist'
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return 'does not exist'
    except OSError as error:  # a folder above may not be entered
        return str(error.strerror)
    if not os.access(path, os.R_OK):
        return 'may not be read'
    return 'is a folder' if osp.isdir(path) else 'is no folder'


def files_below(folder: str) -> set[str]:
    """Paths of all files below a folder, which need not exist.

    Looking up a million contour files one by one takes minutes on a network
    file system. Links are followed, but none to a folder that it lies in.
    An OSError names a folder that may not be read.
    """

    def told(error: OSError) -> None:
        if not isinstance(error, (FileNotFoundError, NotADirectoryError)):
            raise error

    found: set[str] = set()
    for above, folders, names in os.walk(folder, True, told, True):
        found.update(osp.join(above, name) for name in names)
        folders[:] = [name for name in folders if not _leads_up(above, name)]
    return found


def _leads_up(above: str, name: str) -> bool:
    if not osp.islink(link := osp.join(above, name)):
        return False
    there, here = Path(link).resolve(), Path(above)
    # The way from the top may itself lead through links.
    real = (x.resolve() for x in (here, *here.parents))
    return any(there in (x, *x.parents) for x in real)


def describe_left_out(files: Iterable[str], read: Iterable[str]) -> str:
    """Say which of the files below a folder are not read; '' if all are."""
    known = set(map(osp.normpath, read))
    left = sorted(set(map(osp.normpath, files)) - known)
    if not left:
        return ''
    kinds = Counter(
        'hidden'
        if osp.basename(path).startswith('.')
        else 'dangling link'
        if not osp.isfile(path)
        else osp.splitext(path)[1] or 'without an ending'
        for path in left
    )
    named = ', '.join(f'{n} {kind}' for kind, n in kinds.most_common(5))
    return (
        f'{len(left)} files beside the {len(known)} that are read are left '
        f'out ({named}), the first is {left[0]}'
    )


def _video(line: str, options: Mapping[str, Any]) -> str:
    """Every delimiter is one for VideoDataset (mmaction2)."""
    delimiter = options.get('delimiter', ' ')
    several, count = options.get('multi_class'), options.get('num_classes')
    path, *labels = line.split(delimiter)
    if len(labels) > 1 and not several:
        raise ValueError(
            f'{delimiter!r} inside the path, or twice; rename the file, or '
            "use another delimiter in the list and set the dataset's"
        )
    _check_labels(labels, line, delimiter)
    if several and count and (last := max(map(int, labels))) >= count:
        raise ValueError(
            f'the label {last} is beyond num_classes={count} of the dataset'
        )
    return path


def _image(line: str, options: Mapping[str, Any]) -> str:
    """The last blank is what CustomDataset (mmpretrain) splits at."""
    if not options.get('with_label', True):
        return line
    path, *labels = line.rsplit(' ', 1)
    _check_labels(labels, line, ' ')
    return path


def any_row(line: str, options: Mapping[str, Any]) -> str:
    """Lists of either library; those of ``bimm scan`` may have tabs."""
    delimiter = '\t' if '\t' in line else ' '
    path, *labels = line.rsplit(delimiter, 1)
    _check_labels(labels, line, delimiter)
    return path


def _check_labels(labels: Sequence[str], line: str, delimiter: str) -> None:
    """Raise ValueError if there is none, or one that is no number."""
    if not labels:
        other = next((mark for mark in '\t,;|' if mark in line), None)
        hint = f', but {other!r}, which is not the delimiter' if other else ''
        raise ValueError(f'no label after {delimiter!r}{hint}. {_ROW}')
    for label in labels:
        if not (label.isascii() and label.isdigit()):
            raise ValueError(
                f'the label {label!r} is not a number; classes are 0, 1, ... '
                f'{_ROW}'
            )


def _check_folders(options: Mapping[str, Any]) -> None:
    """A folder for every name that the config gives to a class."""
    folder = options['data_prefix'].get('img_path') or ''
    names = {*((options.get('_metainfo') or {}).get('classes') or ())}
    if not (names and options.get('with_label') and osp.isdir(folder)):
        return
    found = {each.name for each in os.scandir(folder) if each.is_dir()}
    if len(found) != len(names):
        raise ValueError(
            f'{folder} has {len(found)} folders of classes, and '
            f'metainfo.classes {len(names)} names; without a name: '
            f'{sorted(found - names)[:5]}, without a folder: '
            f'{sorted(names - found)[:5]}'
        )


def _frames(line: str, options: Mapping[str, Any]) -> str:
    """RawframeDataset (mmaction2): folder, number of frames, labels."""
    path, *numbers = line.split()
    needed = 3 if options.get('with_offset') else 2
    if len(numbers) < needed or not all(map(str.isdigit, numbers)):
        raise ValueError(
            f'expected a folder without a blank and {needed} numbers (of '
            'frames, and the class)'
        )
    return path


def _ava(line: str, options: Mapping[str, Any]) -> str:
    """A row of AVA's annotations.

    Boxes in pixels train with a falling loss; seconds that do not fit the
    videos' start show the model other frames. Of ``custom_classes`` the
    dataset makes actions 1, 2, ... and skips others.
    """
    fields = line.split(',')
    try:
        if len(fields) != 8:
            raise ValueError(f'{len(fields)} fields')
        second, action, _ = int(fields[1]), int(fields[6]), int(fields[7])
        x1, y1, x2, y2 = map(float, fields[2:6])
        if not (0 <= x1 <= x2 <= 1 and 0 <= y1 <= y2 <= 1):
            raise ValueError('no box in shares of the frame')
    except ValueError as error:
        raise ValueError(f'{error}. {_AVA_ROW}') from None
    first, last = options.get('timestamp_start'), options.get('timestamp_end')
    first, last = 900 if first is None else first, last or 1800
    if not first <= second <= last:
        raise ValueError(
            f'second {second}, but the videos are said to last from '
            f'{first} to {last}: set timestamp_start and timestamp_end of '
            'the dataset'
        )
    count = options.get('num_classes') or 81
    if options.get('custom_classes') is None and not 1 <= action < count:
        raise ValueError(
            f'action {action}, but num_classes={count} means actions '
            f'1..{count - 1} (0 is the background): change the config '
            'or the annotations'
        )
    return fields[0]


def _exclusion(line: str, options: Mapping[str, Any]) -> str:
    """A key frame that AVA leaves out."""
    video, *second = line.split(',')
    if len(second) != 1 or not second[0].isdigit():
        raise ValueError('expected video,second')
    return video


# By the class that reads such lines.
ROWS: dict[str, Row] = {
    'VideoDataset': _video,
    'RawframeDataset': _frames,
    'CustomDataset': _image,
    'ImageNet': _image,
    'AVADataset': _ava,
}
