"""``bimm embed``, ``bimm export`` and ``bimm show``, as they are typed."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

import bimm_mm
from bimm_mm.apis.feature_file import read_features


def test_features_of_a_folder_with_its_classes(
    run, folder, tmp_path, bimm, capsys, log
):
    out = tmp_path / 'new' / 'features.npz'
    videos = folder / 'videos'
    bimm('embed', run, videos, '--out', out, '--device', 'cpu', '--dry-run')
    assert not out.exists()
    assert any('29 of 29 tensors' in line for line in log)
    log.clear()
    capsys.readouterr()
    bimm('embed', run, videos, '--out', out, '--device=cpu', '--quiet')
    said = capsys.readouterr().out
    assert said == f'{out}: features (5, 24) of float32\n'
    assert not [line for line in log if line.startswith('INFO')]
    features = read_features(out)
    paths = sorted(map(str, videos.rglob('*.mp4')))
    assert features.paths == paths
    names = [features.meta['classes'][label] for label in features.labels]
    assert names == [Path(path).parent.name for path in paths]
    encoder = bimm_mm.load_encoder(run, device='cpu')
    expected = encoder.embed(paths).numpy()
    np.testing.assert_allclose(features.arrays['features'], expected)
    bimm(
        *('embed', run, paths[0], '--out', out, '--branch=ventral'),
        *('--block=1', '--block=2', '--device=cpu'),
    )
    assert list(read_features(out).arrays) == [
        'features_block1',
        'features_block2',
    ]


def test_a_broken_file_is_left_out_on_request(
    run, folder, tmp_path, bimm, mistake
):
    bad, out = tmp_path / 'bad.mp4', tmp_path / 'a.npz'
    bad.write_text('no video')
    good = sorted(folder.rglob('*.mp4'))[0]
    words = ('embed', run, good, bad, '--out', out, '--device=cpu')
    assert 'bad.mp4 cannot be decoded' in mistake(*words)
    # Of a folder, too, a dry run reads the first file alone.
    shutil.copyfile(good, tmp_path / 'a.mp4')
    bimm('embed', run, tmp_path, '--out', out, '--device=cpu', '--dry-run')
    bimm(*words, '--skip-bad')
    features = read_features(out)
    assert features.paths == [str(good)]
    assert features.meta['skipped'] == [str(bad)]


def test_an_encoder_and_pictures(run, folder, tmp_path, bimm, capsys):
    out = tmp_path / 'encoder.safetensors'
    bimm('export', run, '--out', out, '--device=cpu', '--dry-run')
    assert f'{out}: 0.' in capsys.readouterr().out and not out.exists()
    bimm('export', run, '--out', out)
    assert f'{out}: 0.' in capsys.readouterr().out
    assert bimm_mm.load_encoder(out, device='cpu').size == (4, 32, 32)
    clip = sorted(folder.rglob('*.mp4'))[0]
    bimm('show', run, clip, '--out', tmp_path, '--device=cpu', '--dry-run')
    assert not list(tmp_path.glob('*.png'))
    bimm('show', run, clip, '--out', tmp_path / 'new', '--device=cpu')
    said = capsys.readouterr().out.splitlines()
    assert {str(path) for path in (tmp_path / 'new').iterdir()} <= {*said}


def test_home_is_meant_where_no_shell_says_it(
    run, folder, tmp_path, bimm, monkeypatch
):
    """Shells expand ``--out ~/a``, and not ``--out=~/a``."""
    home, here = tmp_path / 'home', tmp_path / 'here'
    home.mkdir()
    here.mkdir()
    (home / 'run').symlink_to(run)
    monkeypatch.setenv('HOME', str(home))
    monkeypatch.chdir(here)
    clip = sorted(folder.rglob('*.mp4'))[0]
    bimm('embed', run, clip, '--out=~/new/a.npz', '--device=cpu')
    bimm('data', 'scan', folder / 'videos', '--out=~/data', '--jobs=1')
    encoder = bimm_mm.load_encoder('~/run', device='cpu')
    assert encoder.source.startswith(str(home))
    bimm_mm.export(encoder, '~/new/b.safetensors')
    found = bimm_mm.reconstruct(run, clip, device='cpu')
    found.save('~/new/pictures')
    assert {x.name for x in (home / 'new').iterdir()} == {
        *('a.npz', 'b.safetensors', 'pictures')
    }
    assert (home / 'data' / 'data.json').is_file()
    assert not list(here.iterdir())
