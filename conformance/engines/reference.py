"""The reference engine: programs run on the package `reference_engine`, with nothing in between."""

from __future__ import annotations

from typing import Any

import numpy as np

from conformance.errors import EngineError
from conformance.outcome import TensorValue

from .torch_like import TorchLike


class ReferenceEngine(TorchLike):
    """The reference: its sparse tensors are read as the dense ones that they stand for."""

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
