"""The reference engine: programs run on the package `reference_engine`, with nothing in between."""

from __future__ import annotations

from typing import Any

import numpy as np

from conformance.arrays import Array
from conformance.errors import EngineError
from conformance.outcome import TensorValue

from .base import Mode
from .torch_like import TorchLike

NATIVE = {name: np.dtype(name) for name in ("float32", "float64", "complex64", "complex128", "int64", "bool")}


class ReferenceEngine(TorchLike):
    """The reference: sparse tensors are read as the dense ones that they stand for, and more modes are restored."""

    def explain(self, result: Any) -> list[tuple[str, list[str]]]:
        from reference_engine.ops.explained import rules_behind

        results = result if isinstance(result, tuple | list) else (result,)
        found = [pair for r in results if self.is_tensor(r) for pair in rules_behind(r)]
        return list(dict(found).items())

    def find_modes(self) -> tuple[Mode, ...]:
        from reference_engine.state import state

        def switch(name: str, default: Any) -> Mode:
            def put(value: Any) -> None:
                setattr(state, name, value)
                state.refresh()

            return Mode(lambda: getattr(state, name), put, default)

        own = {"grad_layouts_enforced": True, "autocast": None, "forward_grad_enabled": True, "dual_levels": (),
               "vmap_levels": (), "transforms": 0, "reversing": (), "kept": (), "depth": 0}  # fmt: skip
        return (*super().find_modes(), *(switch(name, default) for name, default in own.items()))

    def make(self, array: Array, dtype: str, requires_grad: bool) -> Any:
        if NATIVE.get(dtype) != array.dtype:
            return super().make(array, dtype, requires_grad)
        tensor = self.namespace.from_numpy(array.copy())
        return tensor.requires_grad_() if requires_grad else tensor

    def read(self, tensor: Any) -> TensorValue:
        return super().read(tensor if type(tensor._array) is np.ndarray else tensor.to_dense().detach())


def engine(device: str = "cpu") -> TorchLike:
    """The reference, which runs on the CPU only. Raises EngineError for any other device."""
    import reference_engine

    if device != "cpu":
        raise EngineError(f"the reference engine does not run on {device!r}", hint="it is NumPy: cpu")
    version = getattr(reference_engine, "__version__", None)
    if version is None:
        from conformance import __version__ as version
    return ReferenceEngine(reference_engine, name="reference", version=version, drop_in=True)
