"""Anomaly detection: where a node was made, and which node first fails or gives nan.

Under it a node's metadata hold the traceback of the forward call that made it ("traceback_"), and the node whose rule
was running then, if there was one ("parent_"). Source: torch.autograd.detect_anomaly.
"""

from __future__ import annotations

import traceback
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from reference_engine.state import state
from reference_engine.tape.backward import Pass

if TYPE_CHECKING:
    from reference_engine.tape.node import AccumulateGrad, Node

PACKAGE = str(Path(__file__).parent.parent)


def remember(node: Node) -> None:
    """Notes the forward call that makes this node."""
    stack = traceback.extract_stack()
    while stack and stack[-1].filename.startswith(PACKAGE):
        stack.pop()  # the engine's own frames say nothing of the program
    node.metadata["traceback_"] = traceback.format_list(stack)
    if state.evaluating is not None:
        node.metadata["parent_"] = state.evaluating


class GuardedPass(Pass):
    """A backward pass that says which node failed, and stops at the first nan."""

    reported = False

    def run_plain(self, order: list[Node]) -> None:
        """There is no short path here."""
        self.run_general(order)

    def run_node(self, node: Node) -> None:
        around, state.evaluating = state.evaluating, node
        try:
            super().run_node(node)
        except Exception:
            self.report(node)
            raise
        finally:
            state.evaluating = around

    def compute(self, node: Node, grads: tuple, needed: tuple[bool, ...]) -> tuple:
        results = super().compute(node, grads, needed)
        if state.anomaly_check_nan:
            for i, result in enumerate(results):
                array: Any = result._array if hasattr(result, "_array") else result
                if array is not None and np.isnan(array).any():
                    raise RuntimeError(f"Function '{node.name()}' returned nan values in its {i}th output.")
        return results

    def finish_leaf(self, node: AccumulateGrad, gradient: Any) -> None:
        try:
            super().finish_leaf(node, gradient)
        except Exception:
            self.report(node)
            raise

    def report(self, node: Node) -> None:
        """Warns, once, of the node in which the error came, and of those that led to its being made."""
        if self.reported:
            return
        self.reported = True
        _warn(f"Error detected in {node.name()}.", "that caused the error", node)
        seen = set()
        while (parent := node.metadata.get("parent_")) is not None and parent not in seen:
            seen.add(parent)
            node = parent
            _warn(f"Previous calculation was induced by {node.name()}.", "that induced the previous calculation", node)


def _warn(what: str, role: str, node: Node) -> None:
    trace = node.metadata.get("traceback_")
    where = (
        f"Traceback of forward call {role}:\n{''.join(trace)}" if trace is not None
        else "No forward pass information available. Enable detect anomaly during forward pass for more information."
    )  # fmt: skip
    warnings.warn(f"{what} {where}", UserWarning, stacklevel=2)
