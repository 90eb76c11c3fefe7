"""Anomaly detection in the backward pass: where a node was made, and which node first gives nan."""

from __future__ import annotations

import traceback
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from reference_engine.state import state

if TYPE_CHECKING:
    from reference_engine.tape.backward import Pass
    from reference_engine.tape.node import Node


def remember(node: Node) -> None:
    """Notes the forward call that made this node."""
    node.hooks().trace = "".join(traceback.format_list(traceback.extract_stack()[:-3]))


def run_guarded(this: Pass, node: Node, grads: tuple, needed: tuple[bool, ...]) -> tuple:
    """Runs a node's rule; an error, or a nan in its results, is reported with the forward call that made the node."""
    try:
        results = node.tensors(grads, needed) if this.recorded else node.arrays(grads, needed)
    except Exception:
        _report(node)
        raise
    if state.anomaly_check_nan:
        for i, result in enumerate(results):
            array: Any = result._array if hasattr(result, "_array") else result
            if array is not None and np.isnan(array).any():
                _report(node)
                raise RuntimeError(f"Function '{node.name()}' returned nan values in its {i}th output.")
    return results


def _report(node: Node) -> None:
    where = node.hooks().trace or "No forward pass information available. Enable detect anomaly during forward pass for more " \
                          "information."  # fmt: skip
    warnings.warn(f"Error detected in {node.name()}. Traceback of forward call that caused the error:\n{where}",
                  UserWarning, stacklevel=2)  # fmt: skip
