"""How much memory a process may still take on Linux."""

from __future__ import annotations

from pathlib import Path

# Limit, what is in use, and the part of that which is file cache: version 2
# of control groups, then version 1.
_CGROUP_FILES = (
    ('memory.max', 'memory.current', 'inactive_file'),
    ('memory.limit_in_bytes', 'memory.usage_in_bytes', 'total_inactive_file'),
)


def available_memory(
    *,
    proc: Path = Path('/proc'),
    cgroups: Path = Path('/sys/fs/cgroup'),
) -> int:
    """Bytes that can be taken before something has to be killed.

    The smaller of what the machine has (``MemAvailable``) and what the
    process's control groups leave, such as a container's or a Slurm job's.

    Args:
        proc (Path): Where ``/proc`` is.
        cgroups (Path): Where control groups are mounted.

    Returns:
        int: Bytes.

    Raises:
        OSError: If this is not Linux.
    """
    meminfo = proc / 'meminfo'
    if not meminfo.is_file():
        raise OSError(
            f'available memory is read from {meminfo}, which is there on '
            'Linux only: use the plain VideoDataset'
        )
    lines = meminfo.read_text().splitlines()
    sizes = dict(line.split(':', 1) for line in lines)
    machine = int(sizes['MemAvailable'].split()[0]) * 1024
    folders = _folders(proc / 'self/cgroup', cgroups)
    left = [_left(folder) for folder in folders]
    return min([machine, *(bytes_ for bytes_ in left if bytes_ is not None)])


def _folders(groups: Path, mounted: Path) -> list[Path]:
    """Control groups of the process that can limit its memory."""
    folders = []
    lines = groups.read_text().splitlines() if groups.is_file() else []
    for line in lines:
        _, controllers, path = line.split(':', 2)
        if controllers and 'memory' not in controllers.split(','):
            continue
        top = mounted / 'memory' if controllers else mounted
        inner = top / path.lstrip('/')
        # Every group above counts too; a container sees its own as the top.
        folders += [inner, *inner.parents][: len(Path(path).parts)]
        folders.append(top)
    return folders


def _left(folder: Path) -> int | None:
    """Bytes that one group leaves; None without a limit."""
    for limit, usage, cache in _CGROUP_FILES:
        if not (folder / limit).is_file():
            continue
        text = (folder / limit).read_text().strip()
        if text == 'max':
            return None
        used = int((folder / usage).read_text())
        stat = (folder / 'memory.stat').read_text().splitlines()
        cached = dict(line.split() for line in stat).get(cache, 0)
        return max(0, int(text) - used + int(cached))
    return None
