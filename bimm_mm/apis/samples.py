"""What pictures say of the samples that they show.

Lists of a config are read as text: no dataset of it is built, since it may
come with somebody's checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os.path import abspath
from pathlib import Path

from mmengine.config import Config

from bimm_mm.apis.source import INTERVAL, intervals
from bimm_mm.utils.config_parts import dicts
from bimm_mm.utils.list_file import read_lines
from bimm_mm.utils.media import is_image
from bimm_mm.utils.video import VideoReader


def titles_of(cfg: Config, files: Sequence[str | None]) -> list[str]:
    """Names of files, and whether the config trains on them."""
    trained = trained_on(cfg) if any(files) else None
    titles = []
    for file in files:
        if file is None:
            titles.append('a picture')
            continue
        word = 'not known whether seen in training'
        if trained is not None:
            places = {abspath(file), *map(str, Path(abspath(file)).parents)}
            seen = places & trained
            word = 'seen in training' if seen else 'not seen in training'
        titles.append(f'{"/".join(Path(file).parts[-2:])} ({word})')
    return titles


def trained_on(cfg: Config) -> set[str] | None:
    """Files and whole folders of the training set; None if not known."""
    places = set()
    try:
        for node in dicts(cfg.get('train_dataloader')):
            if 'pipeline' in node:
                places |= _listed(node)
    except (OSError, ValueError):
        return None
    return places or None


def _listed(dataset: Mapping) -> set[str]:
    """What a list of a video or an image and its class per line names."""
    root, prefix = dataset.get('data_root') or '', dataset.get('data_prefix')
    if isinstance(prefix, Mapping):
        prefix = next(iter(prefix.values()), '')
    folder = Path(root, prefix or '')
    if not dataset.get('ann_file'):
        return {abspath(folder)}
    delimiter = dataset.get('delimiter', ' ')
    lines = read_lines(str(Path(root, dataset['ann_file'])))
    return {abspath(folder / x.rsplit(delimiter, 1)[0]) for x in lines}


def seconds_between(cfg: Config, files: Sequence[str | None]) -> list[float]:
    """Seconds from a frame of a clip to the next, by video.

    Empty for images, and where a video or the config does not say it.
    """
    interval = next(intervals(cfg.get('train_dataloader')), INTERVAL)
    seconds = []
    for file in files:
        if file is None or is_image(file) or interval is None:
            return []
        with VideoReader(file) as reader:
            if not reader.fps:
                return []
            seconds.append(interval / reader.fps)
    return seconds
