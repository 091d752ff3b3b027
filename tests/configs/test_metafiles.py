"""Metafiles list every config once, in OpenMMLab's format."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

from mmengine.fileio import load

from tests.golden.golden import stored_structure

ROOT = Path(__file__).resolve().parents[2]
METAFILES = load(ROOT / 'model-index.yml')['Import']
PARTS = [load(ROOT / path) for path in METAFILES]
COLLECTIONS = list(chain(*(part.get('Collections', []) for part in PARTS)))
MODELS = list(chain(*(part['Models'] for part in PARTS)))


def test_every_leaf_config_is_named_once():
    found = (ROOT / 'configs').glob('**/metafile.yml')
    assert sorted(METAFILES) == sorted(
        str(path.relative_to(ROOT)) for path in found
    )
    named = sorted(model['Config'] for model in MODELS)
    folders = [(ROOT / path).parent for path in METAFILES]
    there = chain(*(folder.rglob('*.py') for folder in folders))
    assert named == sorted(str(path.relative_to(ROOT)) for path in there)
    others = {p.name for p in (ROOT / 'configs').iterdir() if p.is_dir()}
    assert others - {p.name for p in folders} == {
        '_base_',
        'own',
        'quickstart',
    }


def test_names_belong_together():
    names = [model['Name'] for model in MODELS]
    assert len(set(names)) == len(names)
    for model in MODELS:
        assert model['Name'] == Path(model['Config']).stem
        assert set(model.get('Downstream', [])) <= set(names)
        assert model['Results'] is None and model['Weights'] is None
    collections = [part['Name'] for part in COLLECTIONS]
    assert len(set(collections)) == len(collections)
    assert {model['In Collection'] for model in MODELS} == set(collections)
    for part in COLLECTIONS:
        assert (ROOT / part['README']).is_file()


def test_metadata_are_those_of_the_configs():
    """The gate holds what the configs are; see ``tests/golden``."""
    configs = stored_structure()['configs']
    by_name = {Path(path).stem: cfg['model'] for path, cfg in configs.items()}
    for model in MODELS:
        cfg = by_name[model['Name']]
        arch = cfg.get('dorsal', cfg)['backbone']['arch']
        assert model['Metadata']['Architecture'] == f'ViT-{arch[0].upper()}'
        for name in model.get('Downstream', []):
            checkpoint = by_name[name]['backbone']['init_cfg']['checkpoint']
            assert Path(checkpoint).parent.name == model['Name']
