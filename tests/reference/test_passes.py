"""Backward passes inside one another, in several threads, in batches and under anomaly detection."""

from __future__ import annotations

import threading
import traceback
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import reference_engine as torch


class Descends(torch.autograd.Function):
    """The identity; its backward runs a pass over itself at x - 1, until x is negative."""

    @staticmethod
    def forward(ctx, x):
        with torch.enable_grad():
            ctx.x = x.detach().requires_grad_() - 1
        return ctx.x.detach()

    @staticmethod
    def backward(ctx, g):
        if ctx.x.item() < 0:
            return g
        with torch.enable_grad():
            Descends.apply(ctx.x).sum().backward()
        return g


def in_threads(*functions):
    """Runs functions at the same time; their results."""
    results = [None] * len(functions)

    def run(i):
        results[i] = functions[i]()

    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(functions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


class TestReentrant:
    """A custom backward that runs a backward pass."""

    @pytest.mark.parametrize("depth", [1, 19, 20, 21, 500])
    def test_passes_nest_beyond_the_stack(self, depth):
        """Depth is limited by memory alone, and the gradient is right."""
        x = torch.tensor(float(depth), requires_grad=True)
        Descends.apply(x).sum().backward()
        assert x.grad.item() == 1.0
        assert torch.is_grad_enabled()

    def test_errors_come_up_from_any_depth(self):
        """An error in the innermost of forty passes reaches the caller with its type, and the modes are restored."""

        class Fails(Descends):
            @staticmethod
            def backward(ctx, g):
                if ctx.x.item() < 0:
                    raise KeyError("innermost")
                with torch.enable_grad():
                    Fails.apply(ctx.x).sum().backward()
                return g

        x = torch.tensor(40.0, requires_grad=True)
        with torch.no_grad(), torch.enable_grad():
            y = Fails.apply(x).sum()
        with pytest.raises(KeyError, match="innermost"):
            y.backward()
        assert torch.is_grad_enabled()
        assert x.grad is None

    def test_a_pass_in_a_hook_leaves_the_outer_pass_alone(self):
        """A hook that runs another graph backward changes neither the grad mode nor the gradients of the pass around."""
        x = torch.tensor(3.0, requires_grad=True)
        other = torch.tensor(5.0, requires_grad=True)
        y = x * x

        def hook(g):
            with torch.enable_grad():
                (other * other).backward()
            assert not torch.is_grad_enabled()

        y.register_hook(hook)
        (y * 2).backward()
        assert x.grad.item() == 12.0
        assert other.grad.item() == 10.0


class TestThreads:
    """Passes at the same time."""

    def test_no_contribution_to_a_shared_leaf_is_lost(self):
        """Eight threads add to one large .grad a hundred times each, without a lock: the sum is exact."""
        w = torch.zeros(20_000, requires_grad=True)

        def add():
            for _ in range(100):
                (w * 1).sum().backward()

        in_threads(*[add] * 8)
        assert (w.grad == 800).all()

    def test_threads_share_a_leafs_accumulator(self):
        """Graphs recorded at the same time end in one accumulator, so that a leaf's hooks run once per pass."""
        for _ in range(20):
            w = torch.ones(1, requires_grad=True)
            outs = in_threads(*[lambda w=w: w * 2] * 8)
            assert len({id(out.grad_fn.next_functions[0][0]) for out in outs}) == 1

    def test_anomaly_detection_reaches_threads_that_start_under_it(self):
        """A thread that starts under detection runs under it, as torch's mode is the process's."""
        with torch.autograd.set_detect_anomaly(True, check_nan=False):
            seen = in_threads(torch.is_anomaly_enabled, torch.is_anomaly_check_nan_enabled)
        assert seen == [True, False]
        assert in_threads(torch.is_anomaly_enabled) == [False]


@given(st.integers(1, 4), st.integers(1, 3), st.integers(0, 2**32 - 1), st.booleans())
@settings(max_examples=30)
def test_a_batch_of_vectors_is_the_stack_of_single_ones(batch, size, seed, recorded):
    """Law: is_grads_batched gives the stack of single calls, for several outputs and inputs, recorded or not."""
    draw = np.random.default_rng(seed).standard_normal
    x, z = (torch.tensor(draw(size), requires_grad=True) for _ in range(2))
    ys = (x.sin() * z, (x * x * z).sum())
    vs = [torch.tensor(draw((batch, size))), torch.tensor(draw(batch))]
    together = torch.autograd.grad(ys, [x, z], vs, retain_graph=True, create_graph=recorded, is_grads_batched=True)
    for k in range(batch):
        single = torch.autograd.grad(ys, [x, z], [v[k] for v in vs], retain_graph=True)
        for g, one in zip(together, single, strict=True):
            assert g.requires_grad is recorded
            np.testing.assert_array_equal(g.detach().numpy()[k], one.numpy())


class TestAnomaly:
    """What is said about the node that failed."""

    @staticmethod
    def said(run):
        """The warnings and the error of a run."""
        with warnings.catch_warnings(record=True) as caught, torch.autograd.set_detect_anomaly(True):
            warnings.simplefilter("always")
            with pytest.raises(Exception) as error:
                run()
        return [str(w.message) for w in caught], error.value

    @pytest.mark.parametrize("place", ["tensor hook", "leaf hook", "node hook", "nan from a hook", "in place"])
    def test_the_node_is_named_wherever_the_error_comes_from(self, place):
        """One warning names the node that was running: also for hooks, and for a saved tensor changed in place."""

        def fails(*args):
            raise ValueError("from a hook")

        def run():
            x = torch.ones(1, requires_grad=True)
            y = x.exp()
            if place == "tensor hook":
                y.register_hook(fails)
            elif place == "leaf hook":
                x.register_hook(fails)
            elif place == "node hook":
                y.grad_fn.register_hook(fails)
            elif place == "nan from a hook":
                y.grad_fn.register_hook(lambda gi, go: (gi[0] * float("nan"),))
            else:
                y.detach().add_(1)
            y.sum().backward()

        messages, error = self.said(run)
        name = "torch::autograd::AccumulateGrad" if place == "leaf hook" else "ExpBackward0"
        assert len(messages) == 1
        assert messages[0].startswith(f"Error detected in {name}. Traceback of forward call that caused the error:")
        assert "in run" in messages[0]
        if place == "in place":
            assert "the backtrace further above shows the operation" in str(error)

    def test_the_traceback_ends_in_the_program(self):
        """The engine's own frames are left out; the last one is the line of the forward call."""
        with torch.autograd.set_detect_anomaly(True):
            y = torch.ones(1, requires_grad=True).exp()
        last = y.grad_fn.metadata["traceback_"][-1]
        assert __file__ in last
        assert ".exp()" in last

    def test_nodes_of_all_kinds_are_remembered(self):
        """Operators, in-place changes through views, custom functions and accumulators carry the traceback."""
        with torch.autograd.set_detect_anomaly(True):
            x = torch.ones(2, requires_grad=True)
            base = x * 1
            base[:1].mul_(2)
            custom = Descends.apply(x)
            for node in (base.grad_fn, custom.grad_fn, (x * 3).grad_fn.next_functions[0][0], x.unbind()[0].grad_fn):
                assert "traceback_" in node.metadata

    def test_a_failing_hook_keeps_its_own_traceback(self):
        """The error that comes out is the hook's, with the line that raised it."""

        def fails(g):
            raise ValueError("here")

        def run():
            x = torch.ones(1, requires_grad=True)
            x.register_hook(fails)
            (x * 2).backward()

        _, error = self.said(run)
        assert traceback.extract_tb(error.__traceback__)[-1].name == "fails"

    def test_detection_changes_no_gradient(self):
        """With and without detection the same bits, with hooks, restricted inputs and create_graph."""

        def gradients():
            x = torch.tensor([0.3, -1.2], dtype=torch.float64, requires_grad=True)
            y = (x.sin() * x.exp()).sum()
            y.backward(retain_graph=True)
            (g,) = torch.autograd.grad(y, x, create_graph=True)
            (h,) = torch.autograd.grad(g.sum(), x)
            return [t.detach().tolist() for t in (x.grad, g, h)]

        plain = gradients()
        with torch.autograd.set_detect_anomaly(True):
            assert gradients() == plain
