"""A run folder or a file of weights: what it holds, and from which config.

Nothing of a source is executed: configs are read as literals.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from os.path import expanduser
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.config import Config
from torch import Tensor

from bimm_mm.apis.config import load_config
from bimm_mm.engine.resume import whole_checkpoints
from bimm_mm.models.backbones.vit import BIMMVisionTransformer
from bimm_mm.models.checkpoints.load import find_weights, read_content
from bimm_mm.registry import MODELS
from bimm_mm.utils.choices import check_choice, multiple
from bimm_mm.utils.config_parts import dicts
from bimm_mm.utils.files import read_json
from bimm_mm.utils.safe_load import checkpoint_file

BRANCHES = ('ventral', 'dorsal')
INTERVAL = 4  # frames, where the config does not say
# Weights that come with the package, by the name that stands for their file.
PACKAGED = {
    path.stem: path
    for path in sorted(
        (Path(__file__).parent / 'weights').glob('*.safetensors')
    )
}


class Source(NamedTuple):
    """Where weights come from."""

    path: str  # the file of weights
    state: dict[str, Tensor]
    meta: Mapping[str, Any]  # MMEngine's: epoch, time, dataset_meta, ...
    cfg: Config | None  # None: a file of another project
    hints: Mapping[str, Any]  # config.json of transformers


def read_source(
    source: str | Path, config: str | Path | Config | None = None
) -> Source:
    """Read weights and their config.

    Args:
        source: A run folder, whose newest whole checkpoint is taken; a
            ``.pth`` or ``.safetensors`` file; a folder that transformers'
            ``save_pretrained`` wrote; or a name of ``PACKAGED``.
        config: Its config, or the file of it; None: that of the checkpoint,
            or ``config.py`` beside it.

    Raises:
        FileNotFoundError: If there is no such file or folder.
        ValueError: If a folder holds no whole checkpoint, or a file is none.
    """
    path = expanduser(PACKAGED.get(str(source), source))
    hints, folder = dict[str, Any](), Path(path)
    if folder.is_dir():
        if (folder / 'config.json').is_file():
            hints = _read_hints(folder)
        elif (folder / '.metadata').is_file():
            checkpoint_file(folder)  # says what to do with parts of processes
        else:
            path = _newest_file(folder)
    content = read_content(path)
    meta = content.get('meta') if isinstance(content, dict) else None
    if path.endswith('.safetensors'):
        meta = _safetensors_meta(path)
    meta = meta if isinstance(meta, Mapping) else {}
    state = find_weights(content, source=path)
    if isinstance(config, (str, Path)):
        config = load_config(config)
    return Source(path, state, meta, config or _config(meta, path), hints)


def _newest_file(folder: Path) -> str:
    for _, path in whole_checkpoints([folder], weights_only=True):
        return str(path)
    raise ValueError(
        f'{folder} holds no whole checkpoint: give the folder of a run (with '
        'epoch_N.pth files), a .pth or .safetensors file, or a folder that '
        "transformers' save_pretrained wrote"
    )


def _read_hints(folder: Path) -> dict[str, Any]:
    """What a folder of transformers says of its model and pixels."""
    hints = read_json(folder / 'config.json')
    pixels = folder / 'preprocessor_config.json'
    if pixels.is_file():
        hints['pixels'] = read_json(pixels)
    return hints


def _safetensors_meta(path: str) -> dict[str, str]:
    from safetensors import safe_open

    with safe_open(path, 'pt') as file:
        return file.metadata() or {}


def _config(meta: Mapping[str, Any], path: str) -> Config | None:
    """That of the checkpoint, or beside it; None if there is none."""
    beside = Path(path).parent / 'config.py'
    texts = [meta.get('cfg'), meta.get('config')]
    if beside.is_file():
        texts.append(beside.read_bytes())
    for text in texts:
        try:
            return Config(parse_config(text))
        except (
            AttributeError,  # a statement that assigns nothing
            KeyError,
            RecursionError,
            TypeError,
            ValueError,
            SyntaxError,
        ):
            continue
    return None


def parse_config(text: Any) -> dict[str, Any]:
    """Read assignments of literals and ``dict(...)``, as MMEngine writes.

    Raises:
        AttributeError, KeyError, TypeError, ValueError, SyntaxError: If there
            is anything else.
    """
    return {
        statement.targets[0].id: _value(statement.value)  # type: ignore
        for statement in ast.parse(text).body
    }


def _value(node: ast.AST) -> Any:
    if isinstance(node, ast.Call) and getattr(node.func, 'id', '') == 'dict':
        return {str(k.arg): _value(k.value) for k in node.keywords}
    if isinstance(node, ast.Dict):
        keys = [ast.literal_eval(key) for key in node.keys if key]
        return dict(zip(keys, map(_value, node.values), strict=True))
    if isinstance(node, (ast.List, ast.Tuple)):
        items = [_value(item) for item in node.elts]
        return items if isinstance(node, ast.List) else tuple(items)
    return ast.literal_eval(node)  # type: ignore[arg-type]


def branches(model: Any) -> dict[str, Any]:
    """The models with one of our encoders, by what precedes their keys."""
    if not isinstance(model, Mapping):
        return {}
    parts = {f'{name}.': model[name] for name in BRANCHES if name in model}
    return {
        prefix: part
        for prefix, part in (parts or {'': model}).items()
        if _has_encoder(part)
    }


def _has_encoder(part: Any) -> bool:
    try:
        kind = MODELS.get(str(part['backbone']['type']))
    except (KeyError, TypeError):
        return False
    return isinstance(kind, type) and issubclass(kind, BIMMVisionTransformer)


def choose_branch(
    model: Any, branch: str | None, *, otherwise: str = 'dorsal'
) -> tuple[str, Any]:
    """What precedes the keys of one branch of a model, and its config.

    Without ``branch`` it is ``otherwise`` of a joint model.

    Raises:
        ValueError: If there is no such branch, or no encoder of ours.
    """
    check_choice('branch', branch, (None, *BRANCHES))
    found = branches(model)
    if '' in found and branch is not None:
        raise ValueError(
            f'branch {branch!r}: the model has one encoder, leave it out'
        )
    prefix = '' if '' in found else f'{branch or otherwise}.'
    if prefix not in found:
        raise ValueError(
            'the config has no bimm_mm.BIMMVisionTransformer in '
            'model.backbone, model.ventral or model.dorsal'
        )
    return prefix, found[prefix]


def intervals(node: Any) -> Iterator[int | None]:
    """Frames between two of a clip, of every such transform of a config.

    None where frames are spread over the whole video. A ValueError if it is
    no whole number of 1 or more.
    """
    for part in dicts(node):
        kind = str(part.get('type'))
        if kind.endswith('SampleFrames'):
            yield multiple('frame_interval', part.get('frame_interval', 1))
        if kind.endswith('UniformSample'):
            yield None
