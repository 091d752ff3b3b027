"""What :mod:`bimm_mm.compat` registers instead of what cannot be imported."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any


@contextmanager
def undone_on_error(registries: ModuleType) -> Iterator[None]:
    """Forget what was registered inside the block if the block fails.

    Args:
        registries (ModuleType): A library's ``registry`` module.
    """
    from mmengine.registry import Registry

    before = [
        (registry, dict(registry.module_dict))
        for registry in vars(registries).values()
        if isinstance(registry, Registry)
    ]
    try:
        yield
    except Exception:
        for registry, modules in before:
            registry.module_dict.clear()
            registry.module_dict.update(modules)
        raise


def placeholders(error: Exception) -> Callable[..., None]:
    """A registrar of stand-ins that tell why the real class is missing.

    Args:
        error (Exception): What importing the real classes met.

    Returns:
        Callable: Takes names and the registry to put stand-ins into.
    """

    def register(names: Sequence[str], registry: Any) -> None:
        for name in names:
            registry.register_module(name=name, module=_stand_in(name, error))

    return register


def _stand_in(name: str, error: Exception) -> Callable[..., None]:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise ImportError(
            f'{name} cannot be used with the installed transformers '
            f'({type(error).__name__}: {error}): install an older '
            'transformers in an environment of its own'
        ) from error

    return refuse
