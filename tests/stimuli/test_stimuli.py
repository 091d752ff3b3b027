"""Stimuli show what they are named for, and nothing else tells the label."""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise

import numpy as np
import pytest
from scipy import ndimage
from skimage import color, measure
from skimage.feature import structure_tensor
from skimage.registration import phase_cross_correlation
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from bimm_mm.stimuli import (
    FAMILIES,
    PROPERTIES,
    Nuisance,
    Stimuli,
    contact_sheet,
    make_stimuli,
)
from bimm_mm.stimuli.base import LUMA, elements, unit
from bimm_mm.stimuli.colors import hue_vector

SIZE, NUMBER = 64, 48


@lru_cache
def drawn(name: str, part: str) -> Stimuli:
    frames = 4 if PROPERTIES[name].area == 'MT' else 1
    return make_stimuli(name, NUMBER, frames=frames, seed=1, part=part)


def brightness(clip: np.ndarray) -> np.ndarray:
    """(T, H, W) around 0."""
    gray = clip @ LUMA / 255
    return gray - np.median(gray)


def doubled_orientation(clip):
    rr, rc, cc = structure_tensor(brightness(clip)[0], sigma=3)
    return np.arctan2(2 * rc.sum(), (cc - rr).sum())


def spectrum(clip) -> tuple[np.ndarray, float, float]:
    """Complex values of the strongest wave in all frames, and that wave."""
    fine = 4 * SIZE
    waves = np.fft.fft2(brightness(clip), (fine, fine))
    y, x = np.unravel_index(np.abs(waves).sum(0).argmax(), (fine, fine))
    fx, fy = np.fft.fftfreq(fine)[[x, y]] * SIZE
    return waves[:, y, x], fx, fy


def octaves_of_wave(clip):
    _, fx, fy = spectrum(clip)
    return np.log2(np.hypot(fx, fy))


def drift(clip) -> np.ndarray:
    """Pictures per frame, (x, y), along the strongest wave."""
    values, fx, fy = spectrum(clip)
    turns = -np.angle(np.sum(values[1:] * values[:-1].conj())) / 2 / np.pi
    return turns * np.array([fx, fy]) / (fx**2 + fy**2)


def shift(clip) -> np.ndarray:
    """Median displacement, (x, y), of successive frames."""
    gray = brightness(clip)
    shifts = [
        phase_cross_correlation(after, before, upsample_factor=10)[0][::-1]
        for before, after in pairwise(gray)
    ]
    return np.median(shifts, axis=0) / SIZE


def direction(step: np.ndarray) -> float:
    return np.arctan2(step[1], step[0])


def octaves(step: np.ndarray) -> float:
    return np.log2(np.hypot(*step))


def hue(clip):
    """Angle in CIELAB of what differs most from gray, from red to blue."""
    _, a, b = color.rgb2lab(clip[0]).reshape(-1, 3).T
    far = np.hypot(a, b) >= np.quantile(np.hypot(a, b), 0.95)
    return np.arctan2(-b[far].mean(), a[far].mean())


def largest(mask: np.ndarray):
    """The properties of the largest connected region."""
    regions = measure.regionprops(measure.label(mask))
    return max(regions, key=lambda region: region.area)


def roundness(mask: np.ndarray) -> float:
    return largest(mask).area / largest(mask).perimeter_crofton ** 2


def enclosed(clip):
    """What an outline encloses: how solid, and how much more than itself."""
    gray = np.abs(ndimage.zoom(brightness(clip)[0], 2, order=1))
    line = gray > gray.max() / 2
    filled = ndimage.binary_fill_holes(line)
    return [largest(filled).solidity, filled.sum() / line.sum()]


def pieces(clip):
    """The ground is one piece, figures are several."""
    light = brightness(clip)[0] > brightness(clip)[0].mean()
    return [largest(light).area, largest(~light).area]


def around(clip):
    """How much the waves of a ring point outward."""
    rr, rc, cc = structure_tensor(brightness(clip)[0], sigma=2)
    y, x = (np.indices((SIZE, SIZE)) + 0.5) / SIZE - 0.5
    outward = 2 * np.arctan2(y, x)
    along = (cc - rr) * np.cos(outward) + 2 * rc * np.sin(outward)
    ring = np.abs(np.hypot(x, y) - 0.28) < 0.06
    return [along[ring].sum() / (rr + cc)[ring].sum()]


def shape(clip):
    """Roundness and solidity of what differs from the ground."""
    far = clip[0] - np.median(clip[0], axis=(0, 1))
    far = ndimage.gaussian_filter(np.linalg.norm(far, axis=-1), 1)
    far = far > far.max() / 2
    return [roundness(far), largest(far).solidity]


def red_roundness(clip):
    """Roundness of the red thing less that of the green one."""
    red = clip[0, ..., 0] - 1.0 * clip[0, ..., 1]
    return [roundness(red > 40) - roundness(red < -40)]


def tails(clip):
    """Natural pictures have few large edges, noise has many small ones."""
    edges = ndimage.laplace(brightness(clip)[0])
    return [np.log(np.mean(edges**4) / np.mean(edges**2) ** 2)]


def amplitudes(clip):
    values = np.abs(np.fft.fft2(brightness(clip)[0]))
    y, x = np.indices(values.shape)
    ring = np.hypot(*(np.minimum(k, SIZE - k) for k in (x, y))).astype(int)
    return np.log(ndimage.mean(values, ring, range(1, 32, 3)))


def coarse(values: np.ndarray) -> np.ndarray:
    smooth = ndimage.gaussian_filter(values / values.std(), 4)
    return smooth[4::8, 4::8].ravel()


def frame_map(clip) -> np.ndarray:
    return coarse(brightness(clip)[0] ** 2)


def motion_map(clip) -> np.ndarray:
    """Where dots go with the prevailing motion or against it, 8 x 8."""
    gray, step = brightness(clip), shift(clip)[::-1] * SIZE
    ahead, back = (
        ndimage.shift(gray[:-1], (0, *(way * step)), order=1)
        for way in (1, -1)
    )
    errors = (gray[1:] - ahead) ** 2 - (gray[1:] - back) ** 2
    return coarse(errors.sum(axis=0))


# What finds the label of a clip, and its accuracy or its median error.
ORACLES = {
    'orientation': (doubled_orientation, 0.1),
    'gabor_orientation': (doubled_orientation, 0.1),
    'spatial_frequency': (octaves_of_wave, 0.1),
    'natural_texture': (tails, 0.8),
    'texture': (amplitudes, 0.7),
    'contour_integration': (around, 0.8),
    'closure': (enclosed, 0.9),
    'figure_ground': (pieces, 0.9),
    'convexity': (enclosed, 0.9),
    'hue': (hue, 0.5),
    'shape': (shape, 0.8),
    'color_and_shape': (red_roundness, 0.95),
    'direction': (lambda clip: direction(drift(clip)), 0.1),
    'speed': (lambda clip: octaves(drift(clip)), 0.1),
    'dots_direction_25': (lambda clip: direction(shift(clip)), 0.3),
    'dots_direction_50': (lambda clip: direction(shift(clip)), 0.1),
    'dots_direction_100': (lambda clip: direction(shift(clip)), 0.1),
    'dots_speed': (lambda clip: octaves(shift(clip)), 0.1),
    'form_from_motion': (motion_map, 0.8),
}


def accuracy(name: str, feature) -> float:
    """Of a classifier of training's features on those of test."""
    train, test = (
        np.array([feature(clip) for clip in drawn(name, part).clips])
        for part in ('train', 'test')
    )
    model = make_pipeline(StandardScaler(), LogisticRegression())
    model.fit(train, drawn(name, 'train').labels)
    return model.score(test, drawn(name, 'test').labels)


@pytest.mark.parametrize('name', PROPERTIES)
def test_an_oracle_finds_the_label(name):
    oracle, bound = ORACLES[name]
    if PROPERTIES[name].kind == 'class':
        assert accuracy(name, oracle) >= bound
        return
    stimuli = drawn(name, 'train')
    error = np.array([oracle(clip) for clip in stimuli.clips]) - stimuli.labels
    if PROPERTIES[name].kind == 'angle':
        error = np.angle(np.exp(1j * error))
    assert np.median(np.abs(error)) < bound


@pytest.mark.parametrize('name', PROPERTIES)
def test_mean_color_does_not_tell_the_label(name):
    one = PROPERTIES[name]
    (train, labels), (test, truth) = (
        (stimuli.clips.mean(axis=(1, 2, 3)), stimuli.labels)
        for stimuli in (
            make_stimuli(name, 96, size=32, frames=2, part=part)
            for part in ('train', 'test')
        )
    )
    if one.kind == 'class':
        model = make_pipeline(StandardScaler(), LogisticRegression())
        chance = 1 / len(one.classes)
        bound = chance + 3 * np.sqrt(chance * (1 - chance) / len(truth))
    else:
        model, bound = make_pipeline(StandardScaler(), Ridge()), 0.1
        if one.kind == 'angle':
            labels, truth = (
                np.stack([np.cos(x), np.sin(x)], axis=1)
                for x in (labels, truth)
            )
    assert model.fit(train, labels).score(test, truth) < bound


def test_a_frame_does_not_tell_the_form():
    assert accuracy('form_from_motion', frame_map) < 0.7


class Recorder(Nuisance):
    """Notes the bins and the options that a drawing takes."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.taken = set()

    def between(self, low, high):
        value = super().between(low, high)
        self.taken.add((low, high, int((value - low) / (high - low) * 16)))
        return value

    def choice(self, options):
        value = super().choice(options)
        self.taken.add((tuple(options), value))
        return value


@pytest.mark.parametrize('name', PROPERTIES)
def test_training_and_test_share_no_nuisance(name):
    taken = {}
    for part in ('train', 'test'):
        recorders = [Recorder(part, index=i, name=name) for i in range(40)]
        for recorder in recorders:
            PROPERTIES[name].draw(recorder, 32, 2)
        taken[part] = set().union(*(one.taken for one in recorders))
    assert len(taken['train']) > 20
    assert not taken['train'] & taken['test']


@pytest.mark.parametrize('name', PROPERTIES)
def test_clips_depend_on_nothing_but_the_arguments(name):
    few = make_stimuli(name, 3, size=32, frames=2, seed=1)
    more = make_stimuli(name, 5, size=32, frames=2, seed=1)
    assert np.array_equal(few.clips, more.clips[:3])
    assert np.array_equal(few.labels, more.labels[:3])
    for other in (dict(seed=2), dict(seed=1, part='test')):
        clips = make_stimuli(name, 3, size=32, frames=2, **other).clips
        assert (few.clips != clips).any(axis=(1, 2, 3, 4)).all()
    still = (few.clips[:, 0] == few.clips[:, 1]).all()
    assert still == (PROPERTIES[name].area != 'MT')
    large = make_stimuli(name, 1, size=96, frames=3, seed=1)
    assert large.clips.shape == (1, 3, 96, 96, 3)
    assert large.labels[0] == few.labels[0]
    labels, classes = drawn(name, 'train').labels, PROPERTIES[name].classes
    if classes:
        assert labels.tolist() == [i % len(classes) for i in range(NUMBER)]
    elif PROPERTIES[name].kind == 'angle':
        assert np.histogram(labels, 4, (0, 2 * np.pi))[0].min() > 4


def test_hues_have_one_luminance():
    for hue in np.linspace(0, 2 * np.pi, 50):
        assert abs(hue_vector(hue) @ LUMA) < 1e-12
    clip, _ = PROPERTIES['hue'].draw(Nuisance('train'), 64, 1)
    checks = (clip[0] @ LUMA).reshape(16, 4, 16, 4)
    assert np.ptp(checks, axis=(1, 3)).max() < 1e-9


def test_a_scrambled_patch_has_the_amplitudes_of_the_natural_one():
    def patch(label):
        nuisance = Nuisance('train', index=5)
        nuisance.label = lambda classes: label
        return PROPERTIES['natural_texture'].draw(nuisance, 64, 1)[0][
            0, ..., 0
        ]

    one, other = patch(0), patch(1)
    assert np.abs(one - other).max() > 0.1
    amplitudes = np.abs(np.fft.fft2(one)), np.abs(np.fft.fft2(other))
    np.testing.assert_allclose(*amplitudes, atol=1e-9)


@pytest.mark.parametrize('degrees', [0, 30, 75, 120])
def test_gabor_patches_are_those_of_stimupy(degrees):
    """It starts with a sine, turns the other way, and rounds its phases."""
    gabors = pytest.importorskip('stimupy.stimuli.gabors')
    theirs = gabors.gabor(
        visual_size=1,
        ppd=SIZE,
        frequency=7,
        rotation=degrees,
        sigma=0.08,
        intensities=(-1, 1),
        origin='mean',
    )
    waves = 7 * unit(-np.deg2rad(degrees))[None]
    ours = elements(
        np.array([[0.5, 0.5]]), SIZE, sigma=0.08, waves=waves, phase=-np.pi / 2
    )
    np.testing.assert_allclose(ours, theirs['img'], atol=0.05)


@pytest.mark.parametrize('family', FAMILIES)
def test_a_sheet_has_a_row_for_each_property(family):
    rows = sum(one.family == family for one in PROPERTIES.values())
    sheet = contact_sheet(family, columns=3, size=32)
    assert sheet.shape == (rows * (32 + 16), 3 * 34, 3)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(name='smell'), "property='smell' is unknown"),
        (dict(part='val'), "part='val' is unknown"),
        (dict(number=0), 'number=0 is too small'),
        (dict(size=16), "size=16 is too small for 'speed': give 32 or more"),
        (dict(frames=1), "frames=1 is too small for 'speed': give 2 or more"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_stimuli(**dict(name='speed', number=1) | arguments)
