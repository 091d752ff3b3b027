"""Classes of videos and images, by a finetuned model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.infer import BaseInferencer
from mmengine.registry import DefaultScope
from torch import nn

from bimm_mm.apis.clips import Media
from bimm_mm.apis.features import guarded
from bimm_mm.apis.inference import build_model
from bimm_mm.apis.source import Source, read_source
from bimm_mm.utils.device import find_device
from bimm_mm.utils.files import atomic_path, read_json, show_any_name
from bimm_mm.utils.media import find_media
from bimm_mm.utils.video import UndecodableVideoError

_BARS = 5  # classes that a picture shows


class Classifier(BaseInferencer):
    """Tells classes of videos or images, as MMEngine's inferencers do.

    Files are read, resized and cropped as the test of the model's config
    does, with all its views.

    Examples:
        >>> classifier = Classifier('work_dirs/finetune_ucf101')
        >>> classifier('clip.mp4')['predictions'][0]
        {'label': 3, 'name': 'Basketball', 'score': 0.91, 'scores': [...]}

    Args:
        source: Folder of a run that finetuned a classifier of mmaction2 or
            mmpretrain, whose newest whole checkpoint is taken, or a
            checkpoint; with ``config`` also a finetuned one of VideoMAE, MAE,
            timm or transformers, whose classes keep their order.
        config: Its config, or the file of it; None: the one of the run.
        device: None or ``'auto'``: the GPU if there is one.
        classes: Their names; None: those of the run or of its dataset, if
            there are any.
        show_progress: Whether to show how far it is.

    Raises:
        ValueError: If it is no finetuned classifier, or does not fill the
            model.
    """

    visualize_kwargs = {'out_dir', 'return_vis'}

    def __init__(
        self,
        source: str | Path,
        *,
        config: str | Path | Config | None = None,
        device: str | torch.device | None = None,
        classes: Sequence[str] | None = None,
        show_progress: bool = True,
    ) -> None:
        self._source = read_source(source, config)
        cfg = _check(self._source)
        scope = cfg.get('default_scope') or 'mmengine'
        where = str(find_device(device))
        # The process keeps its own.
        with DefaultScope.overwrite_default_scope(scope):
            super().__init__(
                cfg, device=where, scope=scope, show_progress=show_progress
            )
        self.classes = list(classes or _find_classes(self._source))
        head = cfg.model.get('cls_head') or cfg.model.get('head')
        count = head.get('num_classes', len(self.classes))
        if self.classes and len(self.classes) != count:
            raise ValueError(
                f'{len(self.classes)} names of classes, and the model of '
                f'{self._source.path} has {count}: give all with classes=[...]'
            )

    def _init_model(
        self, cfg: Config, weights: str | None, device: Any = 'cpu'
    ) -> nn.Module:
        """Build the model and fill all of it."""
        return build_model(cfg, self._source).to(device)

    def _init_pipeline(self, cfg: Config) -> Callable:
        """The transforms of the test, from a path on."""
        transforms = guarded(_pipeline(self._source, cfg))

        def prepare(path: str | Path) -> dict:
            info = dict(
                filename=str(path),
                img_path=str(path),
                label=-1,
                start_index=0,
                modality='RGB',
            )
            try:
                return transforms(info)
            except (UndecodableVideoError, OSError) as error:
                raise ValueError(str(error)) from None

        return prepare

    def _init_collate(self, cfg: Config) -> Callable:
        return pseudo_collate

    def _init_visualizer(self, cfg: Config) -> None:
        return None  # pictures are drawn below

    def _inputs_to_list(self, inputs: Any) -> list:
        """Paths; a folder stands for all videos and images below it."""
        if isinstance(inputs, (list, tuple)):
            return list(inputs)
        if (folder := Path(inputs).expanduser()).is_dir():
            return find_media(folder, others='give others in a list')
        return [inputs]

    def visualize(
        self,
        inputs: list,
        preds: Sequence[Any],
        out_dir: str | Path | None = None,
        return_vis: bool = False,
    ) -> list[np.ndarray] | None:
        """Draw the middle frame and the best classes of every file.

        To a PNG file each in ``out_dir``; returns pictures (H, W, 3), uint8.
        """
        if out_dir is None and not return_vis:
            return None
        pictures = []
        pairs = zip(inputs, preds, strict=True)
        for index, (path, sample) in enumerate(pairs):
            canvas = self._draw(path, sample.pred_score)
            pictures.append(np.asarray(canvas.buffer_rgba())[..., :3])
            if out_dir is not None:
                name = f'{index:04d}_{Path(path).stem}.png'
                with atomic_path(Path(out_dir) / name) as draft:
                    canvas.print_png(str(draft))
        return pictures

    def _draw(self, path: str | Path, scores: torch.Tensor) -> FigureCanvasAgg:
        figure = Figure((7, 2.6), dpi=120, layout='constrained')
        canvas = FigureCanvasAgg(figure)
        left, right = figure.subplots(1, 2)
        left.imshow(Media(path).read(1, 1)[0])
        left.set_axis_off()
        best = scores.topk(min(_BARS, len(scores)))
        labels = best.indices.tolist()
        names = [show_any_name(self._name(i) or str(i)) for i in labels]
        right.barh(range(len(names)), best.values.tolist())
        right.set_yticks(range(len(names)), names, parse_math=False)
        right.invert_yaxis()
        right.set(xlim=(0, 1), xlabel='score')
        canvas.draw()
        return canvas

    def _name(self, label: int) -> str | None:
        return self.classes[label] if label < len(self.classes) else None

    def postprocess(
        self,
        preds: Sequence[Any],
        visualization: list[np.ndarray] | None,
        return_datasamples: bool = False,
    ) -> dict[str, Any]:
        """Numbers and names, or the samples of the library.

        ``predictions`` has for every file ``label``, ``name`` (None if
        classes have no names), ``score`` and all ``scores``.
        """
        found: Any = preds
        if not return_datasamples:
            found = [self._describe(sample.pred_score) for sample in preds]
        return {'predictions': found, 'visualization': visualization}

    def _describe(self, scores: torch.Tensor) -> dict[str, Any]:
        label = int(scores.argmax())
        return {
            'label': label,
            'name': self._name(label),
            'score': float(scores[label]),
            'scores': scores.tolist(),
        }


def _check(found: Source) -> Config:
    """The config, which must be of a classifier."""
    if found.cfg is None:
        raise ValueError(
            f'{found.path} holds no config, nor is there a config.py beside '
            'it: give a run of finetuning, or config='
        )
    model = found.cfg.get('model') or Config()
    if 'areas' in model or 'ventral' in model:
        raise ValueError(
            f'{found.path} is a pretraining ({model.get("type")}) and knows '
            'no classes: finetune it first, and give that run'
        )
    if not ('cls_head' in model or 'head' in model):
        raise ValueError(
            f'{found.path} holds a {model.get("type")}, no classifier of '
            'mmaction2 or mmpretrain'
        )
    return found.cfg


def _find_classes(found: Source) -> Sequence[str]:
    """Their names, of the run's ``run.json`` or of the dataset."""
    record = Path(found.path).parent / 'run.json'
    known: list[Any] = [found.meta.get('dataset_meta')]
    if record.is_file():
        known.insert(0, read_json(record))
    known = [x for x in known if isinstance(x, Mapping)]
    return next((x['classes'] for x in known if x.get('classes')), ())


def _pipeline(found: Source, cfg: Config) -> Sequence[Any]:
    """The transforms of the test, also of a run that had none to do."""
    if cfg.get('test_dataloader'):
        return cfg.test_dataloader.dataset.pipeline
    if cfg.get('test_pipeline'):
        return cfg.test_pipeline
    raise ValueError(
        f'the config of {found.path} has no test_dataloader, so that it does '
        'not say how files are read: add it to the config.py beside'
    )
