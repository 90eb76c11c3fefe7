"""Faults that threads bring out."""

from __future__ import annotations

import threading
from typing import Any

import reference_engine as engine
from reference_engine.autograd import grad_mode
from reference_engine.state import state
from reference_engine.tape import backward as running
from reference_engine.tape.node import Node
from reference_engine.tape.saved import FREED_MESSAGE
from tests.faulty_engines.patching import Patch, asking, fault


@fault("threads")
def backward_runs_in_a_thread_of_its_own(p: Patch) -> None:
    """Each backward pass is handed to a worker thread."""

    def run_backward(*args: Any, **options: Any) -> Any:
        found: list = []
        mode = state.grad_enabled

        def work() -> None:
            before = state.set_grad_enabled(mode)
            try:
                found.append((original(*args, **options), None))
            except BaseException as error:
                found.append((None, error))
            state.set_grad_enabled(before)

        worker = threading.Thread(target=work)
        worker.start()
        worker.join()
        result, error = found[0]
        if error is not None:
            raise error
        return result

    original = running.run_backward
    p.set(asking, "run_backward", run_backward)


@fault("threads")
def multithreading_switch_is_shared(p: Patch) -> None:
    """set_multithreading_enabled holds for all threads."""
    shared = {"on": True}

    def set_mode(mode: bool) -> bool:
        before, shared["on"] = shared["on"], mode
        return before

    p.set(grad_mode.set_multithreading_enabled, "_set", staticmethod(set_mode))
    p.function(grad_mode.is_multithreading_enabled, lambda: shared["on"])


@fault("threads")
def multithreading_switch_sticks(p: Patch) -> None:
    """Leaving set_multithreading_enabled does not restore the previous value."""
    p.set(grad_mode.set_multithreading_enabled, "__exit__", lambda self, *exc: None)


@fault("threads")
def multithreading_switch_waits_to_be_entered(p: Patch) -> None:
    """set_multithreading_enabled called as a function does nothing."""

    def init(self: Any, mode: bool) -> None:
        self.mode = bool(mode)

    def enter(self: Any) -> None:
        self.before = self._set(self.mode)

    p.set(grad_mode.set_multithreading_enabled, "__init__", init)
    p.set(grad_mode.set_multithreading_enabled, "__enter__", enter)


@fault("threads")
def threads_cannot_backward(p: Patch) -> None:
    """Only the main thread may run a backward pass."""

    def run_backward(*args: Any, **options: Any) -> Any:
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("backward outside of the main thread")
        return original(*args, **options)

    original = running.run_backward
    p.set(asking, "run_backward", run_backward)


@fault("threads")
def grad_accumulates_where_threads_share(p: Patch) -> None:
    """In another thread than the main one autograd.grad adds to .grad as backward does."""

    def run_backward(roots: Any, seeds: Any, **options: Any) -> Any:
        results = original(roots, seeds, **options)
        if threading.current_thread() is not threading.main_thread() and options.get("accumulating") is False:
            for (node, _), found in zip(options["targets"], results, strict=True):
                leaf = getattr(node, "variable", None)
                if leaf is not None and found is not None and not options["recorded"]:
                    leaf._grad = engine.tensor(found)
        return results

    original = running.run_backward
    p.set(asking, "run_backward", run_backward)


@fault("threads")
def each_thread_has_its_own_grad(p: Patch) -> None:
    """The last thread's gradient replaces what other threads accumulated."""
    from reference_engine.tape import accumulate

    def add(variable: Any, gradient: Any, recorded: bool) -> None:
        writer = getattr(variable, "_writer", None)
        if writer is not None and writer != threading.get_ident():
            variable._grad = None
        variable._writer = threading.get_ident()
        original(variable, gradient, recorded)

    original = accumulate._add
    p.set(accumulate, "_add", add)


@fault("threads")
def graphs_belong_to_their_thread(p: Patch) -> None:
    """A node made in another thread cannot be run."""
    makers: dict[int, int] = {}

    def edges(self: Any, inputs: tuple) -> tuple:
        made = original(self, inputs)
        for edge in made:
            if edge is not None:
                makers.setdefault(id(edge[0]), threading.get_ident())
        return made

    def run_node(self: Any, node: Node) -> None:
        if makers.get(id(node), threading.get_ident()) != threading.get_ident():
            raise RuntimeError("a graph of another thread")
        original_run(self, node)

    from reference_engine.ops.kinds import Operator

    original, original_run = Operator.edges, running.Pass.run_node
    p.long_way()
    p.set(Operator, "edges", edges)
    p.set(running.Pass, "run_node", run_node)


@fault("threads")
def retaining_holds_for_one_thread(p: Patch) -> None:
    """retain_graph=True is forgotten outside of the main thread."""

    def run_backward(*args: Any, **options: Any) -> Any:
        if threading.current_thread() is not threading.main_thread():
            options["keep_graph"] = False
        return original(*args, **options)

    original = running.run_backward
    p.set(asking, "run_backward", run_backward)


@fault("threads")
def freed_graphs_are_silent_in_threads(p: Patch) -> None:
    """In another thread a freed graph gives no gradients instead of an error."""

    def run_backward(*args: Any, **options: Any) -> Any:
        try:
            return original(*args, **options)
        except RuntimeError as error:
            if str(error) == FREED_MESSAGE and threading.current_thread() is not threading.main_thread():
                return []
            raise

    original = running.run_backward
    p.set(asking, "run_backward", run_backward)


@fault("threads")
def view_replay_is_on(p: Patch) -> None:
    """is_view_replay_enabled() says True."""
    p.function(grad_mode.is_view_replay_enabled, lambda: True)


@fault("threads")
def stream_switches_answer(p: Patch) -> None:
    """The switches about streams return the value they were given."""
    p.function(engine.autograd.graph.set_override_stale_capture_stream, lambda enabled: enabled)


@fault("threads")
def grad_mode_of_passes_is_shared(p: Patch) -> None:
    """Hooks see the grad mode of whichever pass started last, in any thread."""
    latest = {"mode": True}

    def run(self: Any, *args: Any) -> None:
        latest["mode"] = self.recorded
        original(self, *args)

    def is_grad_enabled() -> bool:
        return latest["mode"] if state.backward is not None else state.grad_enabled

    original = running.Pass.run
    p.set(running.Pass, "run", run)
    p.function(engine.is_grad_enabled, is_grad_enabled)
