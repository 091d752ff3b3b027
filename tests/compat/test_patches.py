"""Each patch works; the libraries of the environment have the bugs."""

from __future__ import annotations

import gc
import os
import sys
import warnings
from functools import partial
from importlib.util import find_spec
from multiprocessing import dummy
from types import ModuleType

import numpy as np
import pytest
from torch.utils.data import DataLoader

from bimm_mm.compat import import_hook, patches
from tests.processes import run_code


def test_importing_the_package_changes_nothing():
    code = (
        'import sys, pickle\n'
        'before = list(sys.meta_path)\n'
        'import bimm_mm\n'
        'assert sys.meta_path == before\n'
        'assert dir(bimm_mm) == sorted(bimm_mm.__all__)\n'
        "heavy = {'torch', 'numpy', 'mmengine', 'cv2'} & set(sys.modules)\n"
        'assert not heavy, heavy'
    )
    run_code(code)


def test_applying_twice_changes_nothing():
    before = list(sys.meta_path)
    import_hook.install(patches.PATCHES, patches.MISSING)
    assert sys.meta_path == before


def test_all_libraries_import_and_missing_models_say_why():
    # mmaction's registry comes first, as when a config names its datasets.
    code = (
        'import mmaction.registry\n'
        'import bimm_mm.compat\n'
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
    said = run_code(code)
    assert 'mmaction2 #2714' in said
    if find_spec('transformers'):
        assert 'extra multi-modal dependencies' in said


def test_what_few_runs_need_is_imported_when_they_do():
    code = (
        'import sys, bimm_mm.compat, bimm_mm.models\n'
        'import mmaction.datasets, mmengine.runner, mmengine.visualization\n'
        'names = {"matplotlib.figure", "scipy.stats", "torch._dynamo",\n'
        '         "transformers"} & {*sys.modules}\n'
        'assert not names, names\n'
        'import numpy\n'
        'from mmengine.visualization import Visualizer\n'
        'seen = Visualizer(image=numpy.zeros((8, 9, 3), "uint8"))\n'
        'seen.draw_points(numpy.array([[2, 3]]))\n'
        'assert seen.get_image().shape == (8, 9, 3)\n'
        'assert seen.get_image().any()\n'
        'from mmaction.datasets.transforms.pose_transforms import mode\n'
        'assert mode([1, 2, 2])[0] == 2\n'
    )
    run_code(code)


def test_ava_metric_without_annotations_of_an_action():
    from mmaction.evaluation.functional.ava_evaluation import metrics

    none, hits = np.array([0.5]), np.array([False])
    curves = metrics.compute_precision_recall(none, hits, 0)
    assert np.isnan(metrics.compute_average_precision(*curves))


def _ava_files(folder, labels):
    """Random boxes and detections of 40 frames, as AVA's files have them."""
    rng = np.random.default_rng(0)

    def write(name, count, scored):
        rows = []
        for frame in range(40):
            # Nearby corners, so that about half of them overlap enough.
            for _ in range(rng.integers(count)):
                box = np.add(rng.uniform(0, 0.2, 4), [0, 0, 0.5, 0.5])
                row = ['video', frame, *box, rng.choice(labels)]
                rows.append([*row, rng.random()] if scored else row)
        lines = [','.join(map(str, row)) for row in rows]
        (folder / name).write_text('\n'.join(lines))

    write('real.csv', 6, scored=False)
    write('found.csv', 20, scored=True)
    (folder / 'excluded.csv').write_text('video,3\n')
    (folder / 'labels.pbtxt').write_text(
        ''.join(f'  name: "{n}"\n  id: {n}\n' for n in [*labels, 80])
    )


@pytest.mark.parametrize('ignore_empty_frames', [True, False])
def test_ava_metric_has_mmactions_numbers_in_one_process(
    tmp_path, monkeypatch, ignore_empty_frames
):
    import mmaction.evaluation.functional.ava_utils as patched

    spec = find_spec(patched.__name__)
    upstream = ModuleType(patched.__name__)
    upstream.__package__ = patched.__package__
    exec(spec.loader.get_code(spec.name), vars(upstream))
    # The pickle of a pool names its function.
    monkeypatch.setattr(upstream, 'multiprocessing', dummy)
    _ava_files(tmp_path, [1, 2, 17, 70])
    monkeypatch.delattr(os, 'fork')
    results = [
        module.ava_eval(
            str(tmp_path / 'found.csv'),
            'mAP',
            str(tmp_path / 'labels.pbtxt'),
            str(tmp_path / 'real.csv'),
            str(tmp_path / 'excluded.csv'),
            ignore_empty_frames=ignore_empty_frames,
        )
        for module in (patched, upstream)
    ]
    assert results[0] == results[1]
    assert 0.05 < results[0]['overall'] < 0.95


FORMAT = """
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


def test_configs_are_formatted_once():
    run_code(f'import bimm_mm.compat\n{FORMAT}')


END = """
import atexit, sys
from torch import distributed, nn
from bimm_mm.utils.processes import end_processes
end_processes()  # there is no group: it returns
class Torn:
    def __del__(self, write=sys.stdout.write):
        write('taken down')
torn = Torn()
distributed.init_process_group(
    'gloo', init_method='file://' + sys.argv[1], rank=0, world_size=1
)
model = nn.parallel.DistributedDataParallel(nn.Linear(2, 2))
atexit.register(print, 'handlers ran', end='')
end_processes()
print('went on')
"""


def test_processes_of_gloo_end_without_being_taken_down(tmp_path):
    assert run_code(END, tmp_path / 'group') == 'handlers ran'


def test_datasets_of_the_libraries_check_their_lists(tmp_path, monkeypatch):
    # Whoever builds them: these are bare.
    from mmaction.datasets import VideoDataset
    from mmpretrain.datasets import CustomDataset

    monkeypatch.chdir(tmp_path)
    (tmp_path / 'list.csv').write_text('a.mp4,0\nb.mp4,walk\n')
    for build in (
        lambda: VideoDataset('list.csv', [], delimiter=','),
        lambda: CustomDataset(ann_file='list.csv'),
    ):
        with pytest.raises(ValueError, match=r'list\.csv, line '):
            build()


def test_files_that_a_folder_dataset_does_not_read_are_counted(tmp_path, log):
    from mmpretrain.datasets import CustomDataset

    for name in ('ant/1.jpg', 'ant/2.webp', 'bee/3.JPG', 'bee/4.jpg.part'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert len(CustomDataset(str(tmp_path))) == 2
    (line,) = log
    assert '2 files beside the 2 that are read' in line
    assert '1 .webp, 1 .part' in line


def test_class_folders_and_names_of_other_numbers_are_named(tmp_path):
    from mmpretrain.datasets import CustomDataset

    for name in ('ant', 'bee', '.cache'):
        (tmp_path / name).mkdir()
        (tmp_path / name / '1.jpg').touch()
    with pytest.raises(
        ValueError, match=r"3 folders.*2 names.*\['.cache', 'bee'\].*'wasp'"
    ):
        CustomDataset(str(tmp_path), metainfo=dict(classes=['ant', 'wasp']))


def test_a_folder_that_does_not_exist_is_named_with_the_remedy(tmp_path):
    from mmpretrain.datasets import CustomDataset

    with pytest.raises(
        FileNotFoundError, match=r'gone.*, of a CustomDataset: .*data_prefix'
    ):
        CustomDataset(str(tmp_path / 'gone'))


def test_a_folder_of_other_endings_only_is_named(tmp_path):
    from mmseg.datasets import BaseSegDataset

    (tmp_path / '1.JPG').touch()
    with pytest.raises(ValueError, match=r'no sample left.*\(1 \.JPG\)'):
        BaseSegDataset(data_prefix=dict(img_path=str(tmp_path)))


def test_names_that_are_no_utf8_are_logged(tmp_path, capfd):
    from mmengine.logging import MMLogger

    path = tmp_path / 'run.log'
    logger = MMLogger('odd', logger_name='odd', log_file=str(path))
    logger.warning('undecodable: \udcff<img>.mp4')
    assert 'undecodable: \\udcff<img>.mp4' in path.read_text()
    assert 'Logging error' not in capfd.readouterr().err


def test_nobody_is_warned_of_what_libraries_do():
    from torch.utils._pytree import LeafSpec

    with warnings.catch_warnings():
        warnings.simplefilter('error')
        for patch in (patches.quiet_pkg_resources, patches.quiet_leaf_specs):
            patch(ModuleType('any'), lambda module: None)
        warnings.warn('pkg_resources is deprecated as an API.')
        LeafSpec()


def test_workers_of_a_loader_in_a_cycle_hear_that_it_ends():
    # The second one never has a batch.
    loader = DataLoader(range(2), 2, num_workers=2, persistent_workers=True)
    assert len(list(loader)) == 1
    killed: list[int] = []
    for worker in loader._iterator._workers:
        worker.terminate = partial(killed.append, worker.pid)
    del worker
    loader.me = loader
    del loader
    gc.collect()
    assert not killed
