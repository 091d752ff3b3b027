"""Each verb, and each public call, with each bad input that can reach it."""

from __future__ import annotations

import shutil
import wave
from itertools import product
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger

import bimm_mm
from bimm_mm.utils.safe_load import read_checkpoint
from tests.apis.conftest import FRAMES, HERE, SIDE, write_checkpoint
from tests.processes import small_disk

NOWHERE = '/proc/none'  # where nothing can be written, whoever asks
FULL = ': free space there, or write elsewhere'
TOY = (
    *('--size', 'tiny', '--epochs', 1, '--image-size', SIDE),
    *('--frames', FRAMES, '--method', 'videomae', '--out', 'OUT'),
)
TUNE = ('--epochs', 1, '--out', 'OUT')
KNN = ('--kind', 'knn', '--out', 'OUT')
RESULTS = ('.npz', '.png', '.mp4', '.html', '.safetensors')
# Verb, its inputs and flags; words in capitals stand for files, see `place`.
SCAN = ('data', 'scan', 'VIDEOS', '--out', 'OUT', '--jobs', 1)
PRETRAIN = ('pretrain', 'DATA', *TOY)
FINETUNE = ('finetune', 'RUN', 'DATA', *TUNE)
COMPARE = ('compare', 'RUN', 'RUN2', 'DATA', *KNN)
SHOW = ('show', 'MODEL', 'CLIP', '--device=cpu', '--out', 'OUT')
EMBED = ('embed', 'MODEL', 'CLIP', '--device=cpu', '--out', 'OUT/a.npz')
EXPORT = ('export', 'MODEL', '--out', 'OUT/a.safetensors')
REPORT = ('report', 'RUN', '--out', 'OUT/page.html')
DEMO = ('demo', '--out', 'OUT', '--epochs', 1)
TUNING = ('tuning', 'MODEL', '--number=16', '--property=hue', '--out', 'OUT')
# What is bad, by what stands in its place, and words of the sentence.
CASES = [
    (SCAN, {'VIDEOS': 'EMPTY'}, 'no video'),
    (SCAN, {'VIDEOS': 'AUDIO FOLDER'}, 'song.avi'),
    (SCAN, {'VIDEOS': 'CORRUPT FOLDER'}, 'clip.avi'),
    (SCAN, {'OUT': NOWHERE}, NOWHERE),
    (SCAN, {'DISK': 'full'}, 'too large'),
    (PRETRAIN, {'DATA': 'EMPTY'}, 'has no data.json'),
    (PRETRAIN, {'DATA': 'BAD DATA'}, '2 of 4 files'),
    (PRETRAIN, {'OUT': NOWHERE}, f'{NOWHERE} cannot be written'),
    (PRETRAIN, {'DISK': 'full'}, 'epoch_1.pth'),
    (PRETRAIN, {'DISK': 'none'}, 'set TMPDIR'),
    (PRETRAIN, {'DISK': 'small'}, f"/OUT'{FULL}"),
    (FINETUNE, {'RUN': 'EMPTY'}, 'has no run.json'),
    (FINETUNE, {'RUN': 'OTHER RUN'}, 'epoch_1.pth'),
    (FINETUNE, {'DATA': 'EMPTY'}, 'has no data.json'),
    (FINETUNE, {'DATA': 'BAD DATA'}, '2 of 4 files'),
    (FINETUNE, {'OUT': NOWHERE}, f'{NOWHERE} cannot be written'),
    (FINETUNE, {'DISK': 'full'}, 'epoch_1.pth'),
    (COMPARE, {'RUN': 'EMPTY'}, 'has no run.json'),
    (COMPARE, {'RUN': 'OTHER RUN'}, 'epoch_1.pth'),
    (COMPARE, {'DATA': 'EMPTY'}, 'has no data.json'),
    (COMPARE, {'DATA': 'BAD DATA'}, '0.avi'),
    (COMPARE, {'OUT': NOWHERE}, f'{NOWHERE} cannot be written'),
    (COMPARE, {'DISK': 'full'}, 'too large'),
    (SHOW, {'MODEL': 'EMPTY'}, 'holds no whole checkpoint'),
    (SHOW, {'MODEL': 'OTHER'}, 'other.pth'),
    (SHOW, {'MODEL': 'gone'}, 'there is no checkpoint at'),
    (SHOW, {'CLIP': 'gone.mp4'}, 'gone.mp4: there is no such file'),
    (SHOW, {'CLIP': 'AUDIO'}, 'song.avi cannot be decoded: it is in none of'),
    (SHOW, {'CLIP': 'CORRUPT'}, 'clip.avi'),
    (SHOW, {'CLIP': 'EMPTY'}, 'is a folder: give a video or an image'),
    (SHOW, {'MODEL': 'EMPTY', 'OUT': NOWHERE}, f'{NOWHERE} cannot be w'),
    (SHOW, {'DISK': 'full'}, FULL),
    (EMBED, {'MODEL': 'EMPTY'}, 'holds no whole checkpoint'),
    (EMBED, {'MODEL': 'OTHER'}, 'other.pth'),
    (EMBED, {'CLIP': 'EMPTY'}, 'holds no video and no image'),
    (EMBED, {'CLIP': 'AUDIO'}, 'song.avi'),
    (EMBED, {'CLIP': 'CORRUPT'}, 'clip.avi cannot be decoded'),
    (EMBED, {'MODEL': 'EMPTY', 'OUT': NOWHERE}, f'{NOWHERE} cannot be '),
    (EMBED, {'DISK': 'full'}, FULL),
    ((*EMBED[:-1], 'OUT/a.csv'), {}, 'must end with .npz'),
    ((*EMBED, '--batch-size=0'), {}, 'batch_size=0 must be a whole number'),
    (EXPORT, {'MODEL': 'EMPTY'}, 'holds no whole checkpoint'),
    (EXPORT, {'MODEL': 'OTHER'}, 'other.pth'),
    (EXPORT, {'MODEL': 'EMPTY', 'OUT': NOWHERE}, f'{NOWHERE} cannot '),
    (EXPORT, {'DISK': 'full'}, FULL),
    (REPORT, {'RUN': 'EMPTY'}, 'has no run: give'),
    (REPORT, {'RUN': 'EMPTY', 'OUT': NOWHERE}, f'{NOWHERE} cannot be w'),
    (REPORT, {'DISK': 'full'}, FULL),
    (DEMO, {'OUT': NOWHERE}, NOWHERE),
    (DEMO, {'DISK': 'full'}, FULL),
    (TUNING, {'MODEL': 'EMPTY'}, 'holds no whole checkpoint'),
    (TUNING, {'MODEL': 'OTHER'}, 'other.pth'),
    (TUNING, {'MODEL': 'EMPTY', 'OUT': NOWHERE}, f'{NOWHERE} cannot be w'),
    (TUNING, {'DISK': 'full'}, FULL),
]
# The same from Python, by what is bad.
CALLS = {
    'MODEL': (
        'load_encoder(MODEL)',
        "get_model('bimm-tiny-video', MODEL)",
        'reconstruct(MODEL, CLIP)',
        'Classifier(MODEL)',
        'tuning(MODEL, out=OUT)',
    ),
    'CLIP': (
        'load_clip(CLIP, encoder())',
        'encoder().embed(CLIP)',
        'reconstruct(MODEL, CLIP)',
        'Classifier(CLASSES)(CLIP)',
    ),
    'OUT': (
        "export(encoder(), OUT / 'a.safetensors')",
        "export(encoder(), OUT / 'a.pt2')",
        'reconstruct(MODEL, CLIP).save(OUT)',
        'Classifier(CLASSES)(CLIP, out_dir=OUT)',
        "tuning(encoder(), out=OUT, properties=['hue'], number=16)",
    ),
}
BAD = {
    'MODEL': ('EMPTY', 'OTHER', 'AUDIO'),
    'CLIP': ('EMPTY', 'AUDIO', 'CORRUPT'),
    'OUT': (NOWHERE, 'full'),
}


def _audio(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), 'wb') as file:
        file.setparams((1, 2, 8000, 0, 'NONE', ''))
        file.writeframes(b'\0' * 16000)
    return path


def _corrupt(path: Path, clip: Path) -> Path:
    """The head of a clip, then nothing that can be decoded."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(clip.read_bytes()[:300] + b'\xff' * 3000)
    return path


@pytest.fixture
def place(scanned, pretrained, run, tmp_path):
    """Put a file or folder where a word of a command line wants it."""
    clip = scanned / 'videos' / 'of mine' / '0.avi'

    def data() -> Path:
        folder = Path(shutil.copytree(scanned, tmp_path / 'data'))
        path = folder / 'data.json'
        text = path.read_text().replace(str(scanned), str(folder))
        path.write_text(text)
        return folder

    def put(word: str) -> Path | str:
        copy = tmp_path / word.replace(' ', '_')
        kind = word.split()[0]
        spoil = {'AUDIO': _audio, 'CORRUPT': lambda x: _corrupt(x, clip)}
        name = {'AUDIO': 'song.avi', 'CORRUPT': 'clip.avi'}.get(kind, '')
        if word in ('AUDIO', 'CORRUPT'):
            return spoil[kind](tmp_path / name)
        if word.endswith(' FOLDER'):
            return spoil[kind](copy / 'a' / name).parents[1]
        if word == 'BAD DATA':
            folder = data()
            videos = folder / 'videos' / 'of mine'
            _audio(videos / '0.avi')
            _corrupt(videos / '1.avi', clip)
            return folder
        if word in ('OTHER', 'OTHER RUN'):
            theirs = {'conv1.weight': torch.ones(64, 3, 7, 7)}
            path = tmp_path / 'other.pth'
            if word == 'OTHER RUN':
                shutil.copytree(pretrained, copy)
                path = copy / 'epoch_1.pth'
            torch.save({'state_dict': theirs, 'meta': {}}, path)
            return copy if word == 'OTHER RUN' else path
        if word == 'EMPTY':
            copy.mkdir()
            return copy
        if word == 'RUN2':
            return Path(shutil.copytree(pretrained, copy))
        known = {'VIDEOS': clip.parents[1], 'DATA': scanned, 'CLIP': clip}
        return {**known, 'RUN': pretrained, 'MODEL': run}.get(word, word)

    return put


def _name(case) -> str:
    verb, bad, _ = case
    words = '-'.join(f'{word}={is_}' for word, is_ in bad.items())
    return f'{verb[0]}-{words}'.replace(' ', '_').replace('/', '_')


@pytest.mark.parametrize('case', CASES, ids=_name)
def test_bad_input_is_told_and_nothing_is_half_written(
    case, place, mistake, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Config, 'pretty_text', property(repr))  # slow
    command, bad, said = case
    words = []
    for word in map(str, command):
        head, slash, tail = word.partition('/')
        head = bad.get(head, head)
        words.append(f'{place(head)}{slash}{tail}')
    if command[0] in ('pretrain', 'finetune', 'compare'):
        parts = (
            ('train',)
            if command[0] == 'pretrain'
            else ('train', 'val', 'test')
        )
        words += [
            f'--set={key}={value}'
            for key, value in HERE.items()
            if key.startswith(parts)
        ]
    before = set(tmp_path.rglob('*'))
    MMLogger._instance_dict.clear()  # with the log file of another training
    full = 9_000_000 if command[0] in ('pretrain', 'finetune') else 2000
    sizes = {'full': full, 'small': 9000, 'none': 2000}
    with small_disk(sizes.get(bad.get('DISK'), 1 << 40)):
        assert said in mistake(*words)
    left = {path.name for path in {*tmp_path.rglob('*')} - before}
    left.discard('.examined.jsonl')  # with which a scan goes on
    left.discard('.lock')  # which a training holds
    written = [name for name in left if name.endswith(RESULTS)]
    assert not written and not any(x.startswith('.') for x in left), left
    for path in tmp_path.glob('OUT/undecodable.txt'):
        lines = path.read_text()
        assert '0.avi' in lines and '1.avi' in lines
    for path in tmp_path.glob('OUT/*.pth'):
        assert read_checkpoint(path)  # whole


@pytest.mark.parametrize(
    ('call', 'word', 'bad'),
    [
        (call, word, bad)
        for word, calls in CALLS.items()
        for call, bad in product(calls, BAD[word])
    ],
)
def test_calls_name_what_is_bad_and_write_nothing(
    call, word, bad, place, cfg, tmp_path, capsys
):
    MMLogger._instance_dict.clear()  # whose output is a file on this disk
    cfg.model.backbone.init_cfg = None
    write_checkpoint(tmp_path / 'classes.pth', cfg)
    names = dict(MODEL=place('MODEL'), CLIP=place('CLIP'))
    names |= dict(OUT=tmp_path / 'out', CLASSES=tmp_path / 'classes.pth')
    if bad != 'full':
        names[word] = Path(place(bad))
    scope = {name: getattr(bimm_mm, name) for name in bimm_mm.__all__}
    scope['encoder'] = lambda: bimm_mm.load_encoder(place('MODEL'))
    with (
        small_disk(2000 if bad == 'full' else 1 << 40),
        pytest.raises((OSError, ValueError)) as caught,
    ):
        eval(call, {**scope, **names})
    assert str(names[word]) in str(caught.value)
    assert not [x for x in tmp_path.glob('out/*') if x.name[0] == '.']
    assert not [x for x in tmp_path.glob('out/*') if x.suffix in RESULTS]
