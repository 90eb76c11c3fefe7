"""Faults of what has no derivative: results tracked or cut by mistake, divisions by zero, points outside of domains."""

from __future__ import annotations

from typing import Any

import numpy as np

import reference_engine as engine
from reference_engine import converted
from reference_engine.ops import elementwise, elementwise_kind, special, underivable
from reference_engine.ops.kinds import _array_at
from reference_engine.ops.linalg import orthogonal
from reference_engine.ops.rules import Rule
from tests.faulty_engines.nondifferentiable import _arrays
from tests.faulty_engines.patching import Patch, fault


@fault("nondifferentiable")
def fmax_gives_nan_arguments_the_gradient(p: Patch) -> None:
    """fmax asks whether its first argument is not less than the second, which nan never is."""

    def backward(node: Any, g: Any, _: Any) -> tuple:
        a, b, _ = node.values(_array_at)
        return np.where(~(a < b), g, 0 * g), np.where(a < b, g, 0 * g)

    _arrays(p, elementwise.fmax, backward)


@fault("nondifferentiable")
def std_divides_by_itself(p: Patch) -> None:
    """std is the root of var as it stands: infinity times 0 for equal values."""

    def std(input: Any, dim: Any = None, *, correction: Any = 1, unbiased: Any = None, keepdim: bool = False) -> Any:
        return engine.var(input, dim, correction=correction, unbiased=unbiased, keepdim=keepdim).sqrt()

    p.function(engine.std, std)


@fault("nondifferentiable")
def shrinking_has_slope_one_at_its_edges(p: Patch) -> None:
    """softshrink passes the gradient at the edges of its interval."""
    original = engine.nn.functional.softshrink
    p.function(original, lambda input, lambd=0.5: original(input, lambd * 0.999999))


@fault("nondifferentiable")
def threshold_passes_at_its_edge(p: Patch) -> None:
    """threshold passes the gradient where x equals the threshold."""
    original = engine.nn.functional.threshold
    p.function(original, lambda input, threshold, value, inplace=False: engine.where(input >= threshold, input, value))


@fault("nondifferentiable")
def undefined_points_raise(p: Patch) -> None:
    """sqrt of a negative number raises in backward."""

    def backward(node: Any, g: Any, _: Any) -> tuple:
        y = node.values(_array_at)[1]
        if np.isnan(y).any():
            raise RuntimeError("sqrt is not differentiable there")
        return (g * 0.5 / y,)

    _arrays(p, elementwise.sqrt, backward)


@fault("nondifferentiable")
def log_is_nan_outside_of_its_domain(p: Patch) -> None:
    """The gradient of log is nan for negative numbers."""

    def backward(node: Any, g: Any, _: Any) -> tuple:
        x = node.values(_array_at)[0]
        return (g / np.where(x < 0, np.nan, x),)

    _arrays(p, elementwise.log, backward)


@fault("nondifferentiable")
def nan_gradients_become_zero(p: Patch) -> None:
    """exp drops nan from the gradient that arrives."""
    _arrays(p, elementwise.exp, lambda node, g, _: (np.nan_to_num(g) * node.values(_array_at)[1],))


@fault("nondifferentiable")
def fillers_keep_the_old_gradient(p: Patch) -> None:
    """normal_ hands the gradient to the values that it overwrote."""

    def fill(self: Any, mean: float = 0, std: float = 1, *, generator: Any = None) -> Any:
        return self.add_(engine.randn(self.shape))

    p.set(engine.Tensor, "normal_", fill)


@fault("nondifferentiable")
def fillers_detach(p: Patch) -> None:
    """uniform_ makes a tensor that does not require grad."""
    p.set(engine.Tensor, "uniform_", lambda self, *a, **k: engine.rand_like(self))


@fault("nondifferentiable")
def likeness_is_inherited(p: Patch) -> None:
    """zeros_like requires grad where its input does."""
    original = engine.zeros_like
    p.set(engine, "zeros_like", lambda input, **k: original(input, **{"requires_grad": input.requires_grad, **k}))


@fault("nondifferentiable")
def comparisons_are_numbers(p: Patch) -> None:
    """isnan gives floating point zeros and ones with a history."""
    p.set(engine, "isnan", lambda input: input * 0)


@fault("nondifferentiable")
def histogram_cuts_history(p: Patch) -> None:
    """histogram gives counts that do not require grad."""
    p.rules(underivable._histogram_op, None, None)


@fault("nondifferentiable")
def zeta_forgets_its_factor(p: Patch) -> None:
    """d/dq zeta(s, q) lacks the factor -s."""
    p.rules(special.zeta_op, special.zeta_op.rules[0].fn, lambda g, a, b: g * special.zeta_op(a + 1, b))


@fault("nondifferentiable")
def bessel_functions_are_tracked(p: Patch) -> None:
    """bessel_j0 is recorded, so that backward from it does not raise."""
    original = engine.special.bessel_j0
    p.set(engine.special, "bessel_j0", lambda input: original(input) + input * 0)


@fault("nondifferentiable")
def geqrf_has_zero_gradient(p: Patch) -> None:
    """geqrf gives its input gradient 0 instead of an error."""
    p.set(orthogonal._geqrf_op, "rules", (Rule(lambda gs, x_shape: np.zeros(x_shape, np.float32)),))
    p.set(orthogonal._geqrf_op, "uses_shapes", True)


@fault("nondifferentiable")
def permutations_are_tracked(p: Patch) -> None:
    """The permutation of linalg.lu requires grad."""
    original = engine.linalg.lu

    def lu(A: Any, **options: Any) -> Any:
        result = original(A, **options)
        return result._replace(P=result.P.requires_grad_())

    p.function(original, lu)


@fault("nondifferentiable")
def divisions_by_zero_raise(p: Patch) -> None:
    """A quotient by 0 raises, as Python's does."""
    original = vars(engine.Tensor)["__truediv__"]

    def divide(self: Any, other: Any) -> Any:
        if isinstance(other, engine.Tensor) and (other._array == 0).any():
            raise ZeroDivisionError("float division by zero")
        return original(self, other)

    p.set(engine.Tensor, "__truediv__", divide)


@fault("nondifferentiable")
def division_hides_its_infinity(p: Patch) -> None:
    """A quotient by 0 has gradient 0 instead of 1 / 0."""

    def backward(node: Any, g: Any, needed: Any) -> tuple:
        b = node.values(_array_at)[1]
        return np.where(b == 0, 0 * g, g / np.where(b == 0, 1, b)), None

    _arrays(p, elementwise._div, backward)


@fault("nondifferentiable")
def where_reads_its_branches(p: Patch) -> None:
    """where multiplies the gradient by whether the branch is finite, nan included."""
    chosen = lambda g, a, condition: np.where(condition, g, 0 * a)
    p.rules(elementwise.select_where, chosen, lambda g, condition: np.where(condition, 0 * g, g))


@fault("nondifferentiable")
def products_mask_infinities(p: Patch) -> None:
    """A product has gradient 0 for a factor whose partner is infinite."""

    def backward(node: Any, g: Any, needed: Any) -> tuple:
        a, b, _ = node.values(_array_at)
        return tuple(None if x is None else np.where(np.isinf(x), 0, g * np.where(np.isinf(x), 0, x)) for x in (b, a))

    _arrays(p, elementwise.mul, backward)


@fault("nondifferentiable")
def power_divides_by_its_base(p: Patch) -> None:
    """The gradient of x ** n is n y / x, 0 / 0 at 0."""
    p.rules(elementwise.pow_number, lambda g, x, exponent: g * exponent * np.power(x, exponent) / x)


@fault("nondifferentiable")
def one_hot_takes_floats(p: Patch) -> None:
    """one_hot converts floating point classes to integers."""
    original = engine.nn.functional.one_hot
    p.function(original, lambda tensor, num_classes=-1: original(tensor.long(), num_classes))


@fault("nondifferentiable")
def out_is_always_written(p: Patch) -> None:
    """out= takes a result with a history, and drops it."""
    p.function(
        elementwise_kind._into,
        lambda result, out, name="": result if out is None else out.detach().copy_(result.detach()),
    )


@fault("nondifferentiable")
def item_refuses_what_requires_grad(p: Patch) -> None:
    """item() raises for a tensor that requires grad."""
    original = converted.Converted.item

    def item(self: Any) -> Any:
        if self.requires_grad:
            raise RuntimeError("use detach().item()")
        return original(self)

    p.set(converted.Converted, "item", item)


@fault("nondifferentiable")
def forced_numpy_copies(p: Patch) -> None:
    """numpy(force=True) gives a copy of the memory."""
    original = converted.Converted.numpy
    p.set(converted.Converted, "numpy", lambda self, *, force=False: np.array(original(self, force=force)))


@fault("nondifferentiable")
def end_points_are_tracked(p: Patch) -> None:
    """linspace is recorded as a function of its end points."""
    original = engine.linspace

    def linspace(start: Any, end: Any, steps: int, **options: Any) -> Any:
        return original(start, end, steps, **options) + (start * 0 if isinstance(start, engine.Tensor) else 0)

    p.set(engine, "linspace", linspace)


@fault("nondifferentiable")
def lists_of_tensors_are_stacked(p: Patch) -> None:
    """torch.tensor of a list of tensors keeps their history."""
    original = engine.tensor

    def tensor(data: Any, **options: Any) -> Any:
        if isinstance(data, list) and data and all(isinstance(x, engine.Tensor) for x in data):
            return engine.stack(data)
        return original(data, **options)

    p.set(engine, "tensor", tensor)


@fault("nondifferentiable")
def hinges_forget_their_target(p: Patch) -> None:
    """margin_ranking_loss ignores the sign of its target."""
    F = engine.nn.functional
    original = F.margin_ranking_loss
    p.function(original, lambda a, b, target, **options: original(b, a, target, **options))
