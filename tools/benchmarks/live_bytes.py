"""Count the bytes of all tensors that are alive, operation by operation."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from bimm_mm.models.layers import position


@contextmanager
def fake_tensors() -> Iterator[None]:
    """Tensors made inside have a size and a type, but no memory."""
    # Position tables are kept between calls: no real one may enter, no fake
    # one may leave.
    position._cached.cache_clear()
    try:
        with FakeTensorMode():
            yield
    finally:
        position._cached.cache_clear()


class LiveBytes(TorchDispatchMode):
    """Follows every storage from its first operation until it is freed.

    Forward and backward passes and the optimizer are seen alike, views count
    once. Works with fake tensors, which have a size but no memory: a step
    that no machine at hand could hold is counted in a second. What an
    operation needs for itself only is not seen (workspaces of convolutions
    and matrix products), nor what an allocator rounds up or keeps.

    Args:
        known (Iterable[Tensor]): Tensors made before, such as a model's
            parameters.
    """

    def __init__(self, known: Iterable[Tensor] = ()) -> None:
        super().__init__()
        self.now = 0
        self.peak = 0
        self._alive: dict[int, weakref.ref] = {}
        for tensor in known:
            self._see(tensor)

    def reset_peak(self) -> None:
        """Forget what was alive earlier."""
        self.peak = self.now

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple = (),
        kwargs: dict | None = None,
    ) -> Any:
        """Run an operation and follow what it returns."""
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._see(leaf)
        return result

    def _see(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata  # the address, equal for all views
        if key in self._alive:
            return
        size = storage.nbytes()

        def freed(_: weakref.ref) -> None:
            self.now -= size
            del self._alive[key]

        self._alive[key] = weakref.ref(storage, freed)
        self.now += size
        self.peak = max(self.peak, self.now)
