"""Stimuli shown to encoders, and what every block tells about them.

Shapes: N training and M test stimuli, K blocks, D features.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bimm_mm.apis.embedding import digest_of_weights
from bimm_mm.apis.encoder import Encoder
from bimm_mm.apis.models import load_branches
from bimm_mm.apis.readout import (
    Readout,
    cka,
    interval,
    read_out,
    tuning_curves,
)
from bimm_mm.apis.tuning_features import (
    Reader,
    block_reader,
    motion_energy,
    pixel_reader,
    random_twin,
    read_features,
)
from bimm_mm.stimuli import PROPERTIES, Property, Stimuli, make_stimuli
from bimm_mm.utils.progress import track
from bimm_mm.version import __version__

LEAST = 16  # training stimuli: two of each of eight classes
_MOST_ALIKE = 600  # stimuli for CKA, evenly out of all test stimuli


class Study:
    """Measurements of encoders that see the same stimuli.

    Args:
        encoders: By name.
        number: Training stimuli of each property.
        seed: Of all randomness.

    Raises:
        ValueError: If there are too few, or no clip serves all encoders.
    """

    def __init__(
        self, encoders: Mapping[str, Encoder], *, number: int, seed: int
    ) -> None:
        if number < LEAST:
            raise ValueError(f'number={number}: give {LEAST} stimuli or more')
        self.encoders, self.number, self.seed = dict(encoders), number, seed
        self.frames, self.size = _common_size(self.encoders)
        self.readers: dict[str, dict[str, Reader]] = {}
        twins: dict[str, Reader] = {}
        for name, encoder in self.encoders.items():
            pixels = (encoder.mean.tolist(), encoder.std.tolist())
            kind = repr((encoder.options, pixels, encoder.mean.device))
            if kind not in twins:
                twins[kind] = block_reader(random_twin(encoder, seed))
            self.readers[name] = {
                'trained': block_reader(encoder),
                'random': twins[kind],
                'pixels': pixel_reader(encoder),
            }
            if encoder.backbone.video:
                self.readers[name]['motion energy'] = motion_energy
        self.scores: list[dict[str, Any]] = []
        self.channels: list[dict[str, Any]] = []
        self.properties: dict[str, Property] = {}
        # Of every block, by property, encoder and kind of features.
        self.readouts: dict[str, dict[tuple[str, str], list[Readout]]] = {}
        # To test stimuli, (K, M, D), by encoder and property.
        self.responses: dict[str, dict[str, np.ndarray]] = {}

    def run(
        self, names: Sequence[str] | None, *, quiet: bool = False
    ) -> dict[str, Any]:
        """Measure properties; see :func:`bimm_mm.apis.tuning.tuning`."""
        chosen = self.visible(names)
        shown = track(chosen, total=len(chosen), title='properties')
        for name in chosen if quiet else shown:
            self.measure(PROPERTIES[name])
        return self.result()

    def visible(self, names: Sequence[str] | None) -> list[str]:
        """Those that some encoder sees; asked for motion, a ValueError."""
        moving = [x for x in PROPERTIES if PROPERTIES[x].area == 'MT']
        blind = moving if self.frames < 2 else []
        for name in names or ():
            if name in blind:
                raise ValueError(
                    f'property {name!r} is motion, and the encoder sees one '
                    'frame: leave it out, or give an encoder of videos'
                )
        return [
            x for x in dict.fromkeys(names or PROPERTIES) if x not in blind
        ]

    def measure(self, item: Property) -> None:
        """Show a property to all encoders that can see it."""
        make = partial(
            make_stimuli,
            item.name,
            size=self.size,
            frames=self.frames,
            seed=self.seed,
        )
        stimuli = make(self.number), make(self.number // 2, part='test')
        self.properties[item.name], self.readouts[item.name] = item, {}

        @cache  # what encoders have in common is computed once
        def read(reader: Reader, device: torch.device) -> list[np.ndarray]:
            return [read_features(reader, x.clips, device) for x in stimuli]

        for name, encoder in self.encoders.items():
            if item.area == 'MT' and not encoder.backbone.video:
                continue
            for kind, reader in self.readers[name].items():
                features = read(reader, encoder.mean.device)
                if kind == 'trained':
                    seen = self.responses.setdefault(name, {})
                    seen[item.name] = features[1]
                self._read_out(name, kind, item, features, stimuli)

    def _read_out(
        self,
        name: str,
        kind: str,
        item: Property,
        features: Sequence[np.ndarray],
        stimuli: Sequence[Stimuli],
    ) -> None:
        """Score every block (K, N, D), (K, M, D) of one kind of features."""
        labels = (stimuli[0].labels, stimuli[1].labels)
        about = {'encoder': name, 'property': item.name}
        for row, (train, test) in enumerate(zip(*features, strict=True), 1):
            if not (np.isfinite(train).all() and np.isfinite(test).all()):
                raise ValueError(
                    f'{kind} features of {name} after block {row} are not '
                    'finite: the checkpoint is broken'
                )
            block = row if kind in ('trained', 'random') else None
            found = read_out(
                train, test, labels, kind=item.kind, seed=self.seed
            )
            if block:
                readouts = self.readouts[item.name]
                readouts.setdefault((name, kind), []).append(found)
            numbers = found._asdict()
            del numbers['drawn']
            self.scores.append(
                {**about, 'features': kind, 'block': block, **numbers}
            )
            if kind == 'trained' and item.kind == 'angle':
                self.channels += [
                    {**about, 'block': row, **curve}
                    for curve in tuning_curves(train, test, labels)
                ]

    def result(self) -> dict[str, Any]:
        """All that was measured so far."""
        return {
            'version': __version__,
            'seed': self.seed,
            'stimuli': {
                'train': self.number,
                'test': self.number // 2,
                'size': self.size,
                'frames': self.frames,
            },
            'encoders': {
                name: _about(encoder)
                for name, encoder in self.encoders.items()
            },
            'properties': {
                name: {
                    'family': item.family,
                    'area': item.area,
                    'kind': item.kind,
                    'classes': list(item.classes),
                    'nominal_chance': 1 / len(item.classes)
                    if item.kind == 'class'
                    else 0.0,
                }
                for name, item in self.properties.items()
            },
            'scores': self.scores,
            'differences': [*self._differences()],
            'channels': self.channels,
            'cka': self._cka(),
            'notes': self._notes(),
        }

    def _differences(self) -> Iterator[dict[str, Any]]:
        """Of each encoder to its random weights and to those after it.

        Readouts of one property draw the same test stimuli, so that their
        resampled scores are paired.
        """
        for item, readouts in self.readouts.items():
            area = self.properties[item].area
            for (name, kind), (other, than) in combinations(readouts, 2):
                if kind == 'random' or (than == 'random' and name != other):
                    continue
                mine, theirs = readouts[name, kind], readouts[other, than]
                blocks = {'best': (_best(mine), _best(theirs))}
                both = self.encoders[name], self.encoders[other]
                first, second = (x.areas.get(area) for x in both)
                at = first or second
                if at and at <= min(len(mine), len(theirs)):
                    blocks['area'] = (at, at)
                for where, (first, second) in blocks.items():
                    x, y = mine[first - 1], theirs[second - 1]
                    low, high = interval(x.drawn - y.drawn)
                    yield {
                        'property': item,
                        'encoder': name,
                        'than': other if than == 'trained' else 'random',
                        'at': where,
                        'blocks': [first, second],
                        'difference': x.score - y.score,
                        'low': low,
                        'high': high,
                    }

    def _cka(self) -> dict[str, Any]:
        """Of all blocks of all encoders, on stimuli that all of them saw."""
        shared = [
            item
            for item in self.properties
            if all(item in seen for seen in self.responses.values())
        ]
        names, rows = [], []
        for name, seen in self.responses.items() if shared else ():
            every = np.concatenate([seen[item] for item in shared], 1)
            step = -(-every.shape[1] // _MOST_ALIKE)
            rows += [block[::step] for block in every]
            names += [f'{name} {n}' for n in range(1, len(every) + 1)]
        values = cka(rows).tolist() if rows else []
        return {'names': names, 'properties': shared, 'values': values}

    def _notes(self) -> list[str]:
        """What a reader must know of these encoders."""
        return [
            f'{name} is of images: it saw the middle frame of every clip, and '
            'nothing of motion is shown for it.'
            for name, encoder in self.encoders.items()
            if not encoder.backbone.video
        ]


def load_encoders(
    sources: Sequence[str | Path], *, device: str
) -> dict[str, Encoder]:
    """Encoders of folders and files, both of a joint model.

    Returns:
        By ``'encoder'``, or ``'ventral'`` and ``'dorsal'``; of several
        sources with what they are called before it.

    Raises:
        ValueError: If two are called alike.
    """
    found: dict[str, Encoder] = {}
    for source in sources:
        path = Path(source)
        called = path.name if path.suffix == '' else '/'.join(path.parts[-2:])
        for branch, encoder in load_branches(source, device=device).items():
            name = branch
            if len(sources) > 1:
                name = called if branch == 'encoder' else f'{called} {branch}'
            if name in found:
                raise ValueError(
                    f'two checkpoints are called {called!r}: copy or rename '
                    'one of them'
                )
            found[name] = encoder
    return found


def _common_size(encoders: Mapping[str, Encoder]) -> tuple[int, int]:
    """Frames and side of clips for all, of which images are one frame."""
    if not encoders:
        raise ValueError('there is no encoder to measure: give one or more')
    sizes = {name: encoder.size for name, encoder in encoders.items()}
    frames = {t for t, _, _ in sizes.values()}
    sides = {side for _, *both in sizes.values() for side in both}
    if len(sides) > 1 or len(frames - {1}) > 1:
        raise ValueError(
            'stimuli are square and the same for all encoders, and their '
            f'input is (frames, height, width) {sizes}: give encoders of one '
            'size'
        )
    return max(frames), sides.pop()


def _best(readouts: Sequence[Readout]) -> int:
    """Number of the block with the highest score."""
    return 1 + int(np.argmax([found.score for found in readouts]))


def _about(encoder: Encoder) -> dict[str, Any]:
    """What it is and where it comes from."""
    options = repr(encoder.backbone)
    return {
        'source': encoder.source,
        'weights_sha256': digest_of_weights(encoder),
        'model_sha256': hashlib.sha256(options.encode()).hexdigest(),
        'options': encoder.options,
        'areas': encoder.areas,
        'depth': encoder.backbone.depth,
        'input': list(encoder.size),
    }
