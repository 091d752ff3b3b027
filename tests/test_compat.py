"""Each cure works, and without it the bug is there."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
from mmengine.registry import Registry

from bimm_mm import compat
from bimm_mm.numpy_view import NumpyView

WITH_TRANSFORMERS = find_spec('transformers') is not None


def run_fresh(code: str) -> subprocess.CompletedProcess[str]:
    """Run code in a new interpreter, where nothing is imported yet."""
    return subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', code],
        capture_output=True,
        text=True,
        timeout=200,
    )


def test_importing_the_package_imports_no_library():
    code = (
        'import sys, bimm_mm\n'
        "heavy = {'torch', 'numpy', 'mmengine', 'cv2'} & set(sys.modules)\n"
        'assert not heavy, heavy'
    )
    assert run_fresh(code).returncode == 0


def test_applying_twice_changes_nothing():
    before = list(sys.meta_path)
    compat.apply()
    assert sys.meta_path == before


def test_all_libraries_import_and_missing_models_say_why():
    # mmaction's registry comes first, as when a config names its datasets.
    code = (
        'import mmaction.registry\n'
        'import bimm_mm\n'
        'import mmpretrain.models, mmaction.models, mmdet.models\n'
        'import mmseg.models, mmpretrain.datasets, mmaction.datasets\n'
        'from mmaction.registry import MODELS\n'
        'from mmaction.models.localizers import DRN\n'
        "assert MODELS.get('DRN') is DRN\n"
        'for name in ("DRN", "mmpretrain.BlipCaption"):\n'
        '    try:\n'
        '        MODELS.build(dict(type=name))\n'
        '    except ImportError as error:\n'
        '        print(error)\n'
    )
    done = run_fresh(code)
    assert done.returncode == 0, done.stderr
    assert 'mmaction2 #2714' in done.stdout
    if WITH_TRANSFORMERS:
        assert 'BlipCaption cannot be used with the installed' in done.stdout


def test_mmaction_models_fail_without_the_missing_module():
    code = (
        'import sys, bimm_mm\n'
        'from bimm_mm.compat import _MissingDRN\n'
        'sys.meta_path[:] = ['
        'f for f in sys.meta_path if not isinstance(f, _MissingDRN)]\n'
        'import mmaction.models'
    )
    assert "No module named 'mmaction.models.localizers.drn'" in (
        run_fresh(code).stderr
    )


@pytest.mark.skipif(not WITH_TRANSFORMERS, reason='needs transformers')
def test_mmpretrain_models_fail_without_the_guard():
    done = run_fresh('import mmpretrain.models')
    assert 'TypeError: NoneType takes no arguments' in done.stderr


LIBRARY = {
    '__init__': '',
    'registry': (
        'from mmengine.registry import Registry\n'
        "MODELS = Registry('model', scope='fake')\n"
    ),
    'utils/__init__': '',
    'utils/dependency': (
        'WITH_MULTIMODAL = True\n'
        'def register_multimodal_placeholder(names, registry):\n'
        "    raise AssertionError('the library answers itself')\n"
    ),
    'models/__init__': '',
    'models/multimodal/__init__': (
        'from {lib}.registry import MODELS\n'
        'from {lib}.utils.dependency import (\n'
        '    WITH_MULTIMODAL, register_multimodal_placeholder)\n'
        'if WITH_MULTIMODAL:\n'
        '    from .one import *\n'
        '    from .two import *\n'
        'else:\n'
        "    register_multimodal_placeholder(['One', 'Two'], MODELS)\n"
    ),
    'models/multimodal/one': (
        'from {lib}.registry import MODELS\n'
        '@MODELS.register_module()\n'
        'class One: ...\n'
    ),
}
FITS = '@MODELS.register_module()\nclass Two: ...\n'
DOES_NOT_FIT = 'class Two(None): ...\n'


@pytest.fixture
def multimodal(tmp_path, monkeypatch, request):
    """The registry of a library with multimodal models, after its import."""
    name = f'fake_{request.param[0]}'
    files = LIBRARY | {
        'models/multimodal/two': 'from {lib}.registry import MODELS\n'
        + request.param[1]
    }
    for path, text in files.items():
        file = tmp_path / name / f'{path}.py'
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text.replace('{lib}', name))
    monkeypatch.syspath_prepend(tmp_path)
    module = f'{name}.models.multimodal'
    monkeypatch.setitem(compat.CURES, module, compat.keep_multimodal_optional)
    __import__(module)
    return sys.modules[f'{name}.registry'].MODELS


@pytest.mark.parametrize('multimodal', [('fit', FITS)], indirect=True)
def test_multimodal_models_that_import_are_kept(multimodal: Registry):
    assert type(multimodal.build({'type': 'One'})).__name__ == 'One'
    assert type(multimodal.build({'type': 'Two'})).__name__ == 'Two'


@pytest.mark.parametrize('multimodal', [('bad', DOES_NOT_FIT)], indirect=True)
def test_multimodal_models_that_fail_are_replaced(multimodal: Registry):
    for name in ('One', 'Two'):
        with pytest.raises(ImportError, match=f'{name} cannot.*NoneType'):
            multimodal.build({'type': name})
    package = sys.modules['fake_bad.models.multimodal']
    assert 'One' not in vars(package)
    assert 'fake_bad.models.multimodal.one' not in sys.modules
    assert sys.modules['fake_bad.utils.dependency'].WITH_MULTIMODAL is True


def write_video(file: Path) -> None:
    writer = cv2.VideoWriter(
        str(file), cv2.VideoWriter_fourcc(*'MJPG'), 5, (64, 48)
    )
    for value in (0, 90, 180):
        writer.write(np.full((48, 64, 3), value, np.uint8))
    writer.release()


@pytest.fixture
def frame_extract(tmp_path):
    from mmaction.utils import misc

    write_video(tmp_path / 'grey.avi')
    return lambda: misc.frame_extract(
        str(tmp_path / 'grey.avi'), short_side=24, out_dir=str(tmp_path)
    )


def test_mmaction_extracts_frames_with_numpy_2(frame_extract):
    _, frames = frame_extract()
    assert [frame.shape for frame in frames] == [(24, 32, 3)] * 3


def test_it_would_not_without_the_cure(frame_extract, monkeypatch):
    from mmaction.utils import misc

    monkeypatch.setattr(misc, 'np', np)
    with pytest.raises(AttributeError, match='Inf'):
        frame_extract()


def test_numpy_itself_is_left_alone():
    view = NumpyView('numpy')
    assert isinstance(view, ModuleType) and view.array is np.array
    assert not hasattr(np, 'Inf')
    assert view.in1d([[1, 2], [3, 1]], [1]).tolist() == [
        True,
        False,
        False,
        True,
    ]
    assert view.trapz([0, 1, 3], [0, 1, 2]) == 2.5


@pytest.mark.parametrize('cured', [True, False], ids=['cured', 'bug'])
def test_ava_metric_without_annotations_of_an_action(monkeypatch, cured):
    from mmaction.evaluation.functional.ava_evaluation import metrics

    if not cured:
        monkeypatch.setattr(metrics, 'np', np)
    none, hits = np.array([0.5]), np.array([False])
    curves = metrics.compute_precision_recall(none, hits, 0)
    if cured:
        assert np.isnan(metrics.compute_average_precision(*curves))
    else:
        with pytest.raises(AttributeError, match='NAN'):
            metrics.compute_average_precision(*curves)


def test_retrieval_recall_runs_with_numpy_2(recwarn):
    from mmpretrain.evaluation import RetrievalRecall

    [recall] = RetrievalRecall.calculate(
        [np.array([2, 0, 1]), np.array([0, 1, 2])],
        [np.array([2]), np.array([2])],
        topk=1,
        pred_indices=True,
        target_indices=True,
    )
    assert float(recall) == 50.0
    assert not [w for w in recwarn if 'in1d' in str(w.message)]


PNG_AFTER_DECORD = """
import decord
import cv2, numpy
_, png = cv2.imencode('.png', numpy.eye(64, dtype=numpy.uint8))
assert cv2.imdecode(png, 0) is not None
"""


@pytest.mark.parametrize('cured', [True, False], ids=['cured', 'bug'])
def test_png_files_can_be_read_after_decord_was_imported(cured):
    code = ('import bimm_mm\n' if cured else '') + PNG_AFTER_DECORD
    assert (run_fresh(code).returncode == 0) == cured


END = """
import atexit, sys
from torch import distributed, nn
from bimm_mm import compat
compat.end_processes()  # there is no group: it returns
class Torn:
    def __del__(self, write=sys.stderr.write):
        write('taken down')
torn = Torn()
distributed.init_process_group(
    'gloo', init_method='file://' + sys.argv[1], rank=0, world_size=1
)
model = nn.parallel.DistributedDataParallel(nn.Linear(2, 2))
atexit.register(print, 'handlers ran', end='')
compat.end_processes()
print('went on')
"""


def test_processes_of_gloo_end_without_being_taken_down(tmp_path):
    done = subprocess.run(
        [sys.executable, '-c', END, str(tmp_path / 'group')],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == 'handlers ran'
    assert 'taken down' not in done.stderr


LAY_OUT = """
from yapf.yapflib import yapf_api
texts, real = [], yapf_api.FormatCode
def counted(text, **options):
    texts.append(text)
    return real(text, **options)
yapf_api.FormatCode = counted
from mmengine.config import Config
cfg = Config(dict(model=dict(depth=12, widths=[1, 2, 3]), name='a'))
first = cfg.pretty_text
assert cfg.pretty_text == first
cfg.name = 'b'
assert cfg.pretty_text == first.replace("'a'", "'b'") != first
assert len(texts) == 2, texts
"""


@pytest.mark.parametrize('cured', [True, False], ids=['cured', 'bug'])
def test_a_config_is_laid_out_once(cured):
    code = ('import bimm_mm\n' if cured else '') + LAY_OUT
    assert (run_fresh(code).returncode == 0) == cured
