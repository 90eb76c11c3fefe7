"""Faults of anomaly detection."""

from __future__ import annotations

from typing import Any

import numpy as np

import reference_engine as engine
from reference_engine.autograd import anomaly_mode
from reference_engine.state import state
from reference_engine.tape import anomaly
from reference_engine.tape.anomaly import GuardedPass
from reference_engine.tape.backward import Pass
from tests.faulty_engines.patching import Patch, fault


@fault("anomaly")
def lets_nan_pass(p: Patch) -> None:
    """Detection never looks for NaN."""
    p.set(GuardedPass, "compute", Pass.compute)


@fault("anomaly")
def ignores_check_nan(p: Patch) -> None:
    """check_nan=False is not listened to."""

    def compute(self: Any, node: Any, grads: tuple, needed: tuple) -> tuple:
        before, state.anomaly_check_nan = state.anomaly_check_nan, True
        try:
            return original(self, node, grads, needed)
        finally:
            state.anomaly_check_nan = before

    original = GuardedPass.compute
    p.set(GuardedPass, "compute", compute)


@fault("anomaly")
def takes_infinity_for_nan(p: Patch) -> None:
    """An infinite gradient raises like NaN."""

    class Numpy:
        def isnan(self, array: Any) -> Any:
            return ~np.isfinite(array)

    p.set(anomaly, "np", Numpy())


@fault("anomaly")
def names_the_wrong_output(p: Patch) -> None:
    """The error always speaks of the 0th output."""

    def compute(self: Any, node: Any, grads: tuple, needed: tuple) -> tuple:
        try:
            return original(self, node, grads, needed)
        except RuntimeError as error:
            if "returned nan values" not in str(error):
                raise
            raise RuntimeError(f"Function '{node.name()}' returned nan values in its 0th output.") from None

    original = GuardedPass.compute
    p.set(GuardedPass, "compute", compute)


@fault("anomaly")
def forgets_where_nodes_were_made(p: Patch) -> None:
    """No traceback of the forward call is kept."""
    p.function(anomaly.remember, lambda node: None)


@fault("anomaly")
def remembers_without_being_asked(p: Patch) -> None:
    """Tracebacks of forward calls are kept with detection off as well."""
    from reference_engine.tape.node import Node

    def metadata(self: Any) -> dict:
        notes = original.fget(self)
        notes.setdefault("traceback_", [])
        return notes

    original: Any = Node.metadata
    p.set(Node, "metadata", property(metadata))


@fault("anomaly")
def reports_nothing(p: Patch) -> None:
    """The error comes without the warning that says where the node was made."""
    p.set(GuardedPass, "report", lambda self, node: None)


@fault("anomaly")
def turns_errors_into_its_own(p: Patch) -> None:
    """What a custom backward raises comes out as RuntimeError."""

    def run_node(self: Any, node: Any) -> None:
        try:
            original(self, node)
        except Exception as error:
            raise RuntimeError(str(error)) from None

    original = GuardedPass.run_node
    p.set(GuardedPass, "run_node", run_node)


@fault("anomaly")
def forgets_the_pass_that_made_a_node(p: Patch) -> None:
    """A node made by a backward pass does not know which node was running."""

    def remember(node: Any) -> None:
        original(node)
        node.metadata.pop("parent_", None)

    original = anomaly.remember
    p.function(original, remember)


@fault("anomaly")
def switches_on_when_constructed(p: Patch) -> None:
    """detect_anomaly() is on before it is entered."""

    def init(self: Any, check_nan: bool = True) -> None:
        original(self, check_nan)
        anomaly_mode._set(True, check_nan)

    original = engine.autograd.detect_anomaly.__init__
    p.set(engine.autograd.detect_anomaly, "__init__", init)


@fault("anomaly")
def switches_off_at_exit(p: Patch) -> None:
    """Leaving an inner context switches detection off instead of restoring the outer mode."""
    for mode in (engine.autograd.detect_anomaly, engine.autograd.set_detect_anomaly):
        p.set(mode, "__exit__", lambda self, *exc: anomaly_mode._set(False, True))


@fault("anomaly")
def restores_the_mode_only(p: Patch) -> None:
    """check_nan of the outer context is not restored."""
    for mode in (engine.autograd.detect_anomaly, engine.autograd.set_detect_anomaly):
        p.set(mode, "__exit__", lambda self, *exc: anomaly_mode._set(self.before[0], state.anomaly_check_nan))


@fault("anomaly")
def waits_to_be_entered(p: Patch) -> None:
    """set_detect_anomaly called as a function does nothing."""

    def init(self: Any, mode: bool, check_nan: bool = True) -> None:
        self.mode, self.check_nan = mode, check_nan

    def enter(self: Any) -> None:
        self.before = state.anomaly, state.anomaly_check_nan
        anomaly_mode._set(self.mode, self.check_nan)

    p.set(engine.autograd.set_detect_anomaly, "__init__", init)
    p.set(engine.autograd.set_detect_anomaly, "__enter__", enter)


@fault("anomaly")
def is_silent_about_its_cost(p: Patch) -> None:
    """detect_anomaly() does not warn that it slows the program."""
    p.set(
        engine.autograd.detect_anomaly, "__init__", lambda self, check_nan=True: setattr(self, "check_nan", check_nan)
    )
