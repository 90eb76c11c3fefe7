"""In-place programs mean on the reference what they mean on torch: values, gradients, versions, errors."""

from __future__ import annotations

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import reference_engine as engine

torch = pytest.importorskip("torch")

numbers = st.sampled_from([-1.5, 0.5, 2.0])
regions = st.sampled_from([slice(0, 1), slice(1, 3), slice(0, 4, 2), slice(None), 2])
steps = st.one_of(
    st.tuples(st.sampled_from(["sin_", "exp_", "tanh_", "relu_", "sigmoid_", "neg_", "square_", "zero_", "abs_"])),
    st.tuples(st.sampled_from(["add_", "mul_", "div_", "fill_"]), numbers),
    st.tuples(st.just("pow_"), st.sampled_from([2.0, 3.0])),  # roots of -0 have the other sign on torch
    st.tuples(st.sampled_from(["times x", "copy x", "times itself", "use", "save", "unrecorded", "detached"])),
    st.tuples(st.sampled_from(["region times", "region assigned", "region sine", "region copies x"]), regions),
)


def run(namespace, program):
    """The program on an engine: y starts as 2x; `total` collects what was computed from y on the way."""
    x = namespace.tensor([0.25, 0.5, 0.75, 1.0], dtype=namespace.float64, requires_grad=True)
    y = x * 2
    total = (y + 1).sum()
    for step, *arguments in program:
        if step == "times x":
            y.mul_(x)
        elif step == "copy x":
            y.copy_(x)
        elif step == "times itself":
            y.mul_(y)
        elif step == "use":
            total = total + (y + 3).sum()
        elif step == "save":
            total = total + (y * y).sum()
        elif step == "unrecorded":
            with namespace.no_grad():
                y.add_(1)
        elif step == "detached":
            y.detach().mul_(2)
        elif step == "region times":
            y[arguments[0]].mul_(3)
        elif step == "region assigned":
            y[arguments[0]] = x[1] * 5
        elif step == "region sine":
            y[arguments[0]].sin_()
        elif step == "region copies x":
            y[arguments[0]].copy_(x[arguments[0]])
        else:
            getattr(y, step)(*arguments)
    (total + (y * x).sum()).backward()
    return y.tolist(), x.grad.tolist(), y._version, y.is_leaf


def end(namespace, program):
    """What a program leaves behind, or its kind of error."""
    try:
        return run(namespace, program)
    except RuntimeError as error:
        return "modified by an inplace operation" in str(error), str(error)[:60]


@given(st.lists(steps, max_size=6))
def test_in_place_programs_mean_the_same_as_on_torch(program):
    """Values, gradients and versions agree, and a program that torch refuses is refused with the same words."""
    assume(sum(step == "pow_" for step, *_ in program) < 3)  # a sine of a tower of powers depends on the last bit
    ours, theirs = end(engine, program), end(torch, program)
    if len(theirs) == 2:
        assert ours == theirs
    else:
        assert ours[0] == pytest.approx(theirs[0], nan_ok=True)
        assert ours[1] == pytest.approx(theirs[1], nan_ok=True)
        assert ours[2:] == theirs[2:]


SAVING = ["mul", "true_divide", "atan2", "maximum", "pow", "hypot"]


@pytest.mark.parametrize("name", SAVING)
def test_results_of_binary_operators_may_be_changed_where_torch_allows_it(name):
    """Whether an operator's rule reads its result is seen from outside, by changing the result before backward."""

    def fails(namespace):
        a = namespace.tensor([0.5, 2.0], requires_grad=True)
        b = namespace.tensor([1.5, 0.5], requires_grad=True)
        y = getattr(namespace, name)(a, b)
        y.add_(1)
        try:
            y.sum().backward()
        except RuntimeError:
            return True
        return False

    assert fails(engine) == fails(torch)


UNARY = ["exp", "log", "sqrt", "rsqrt", "reciprocal", "sin", "tanh", "sigmoid", "relu", "abs", "square", "asin", "atan",
         "erf", "expm1", "log1p", "tan", "sinh"]  # fmt: skip


@pytest.mark.parametrize("name", UNARY)
def test_what_unary_operators_save_is_seen_by_changing_it(name):
    """Changing the input, or the result, before backward is an error exactly where it is one on torch."""

    def fails(namespace, changed):
        x = namespace.tensor([0.25, 0.5], requires_grad=True)
        h = x * 1
        y = getattr(namespace, name)(h)
        (h if changed == "input" else y).add_(1)
        try:
            y.sum().backward()
        except RuntimeError:
            return True
        return False

    assert [fails(engine, c) for c in ("input", "result")] == [fails(torch, c) for c in ("input", "result")]


def test_out_is_written_counted_and_returned():
    """out= gives the tensor itself back, overwritten, its version raised; other tensors on its memory see it."""
    out = engine.zeros(2)
    view = out[:1]
    assert engine.sin(engine.tensor([0.0, math.pi / 2]), out=out) is out
    assert out.tolist() == pytest.approx([0.0, 1.0])
    assert out._version == 1
    assert view.tolist() == [0.0]


def test_out_is_resized_with_a_warning_unless_it_was_empty():
    """An out= of another shape is resized; one that held elements warns."""
    empty = engine.zeros(0)
    engine.exp(engine.zeros(3), out=empty)
    assert empty.tolist() == [1.0, 1.0, 1.0]
    with pytest.warns(UserWarning, match="was resized"):
        engine.exp(engine.zeros(2), out=empty)
    assert empty.tolist() == [1.0, 1.0]


def test_out_is_refused_where_it_would_lose_a_gradient_or_a_type():
    """out= with a tensor that requires grad, or floats written to integers, raises torch's errors."""
    x = engine.ones(2, requires_grad=True)
    with pytest.raises(RuntimeError, match="don't support automatic differentiation"):
        engine.sin(x, out=engine.zeros(2))
    with pytest.raises(RuntimeError, match="result type Float can't be cast to the desired output type Long"):
        engine.sin(engine.ones(2), out=engine.zeros(2, dtype=engine.int64))
    with engine.no_grad():
        assert engine.sin(x, out=engine.zeros(2)).requires_grad is False


FORMS = {
    "masked_fill_": lambda t, x: (t.tensor([True, False, True]), 9.0), "cumsum_": lambda t, x: (0,), "eq_": lambda t, x: (2.0,),
    "index_add_": lambda t, x: (0, t.tensor([0, 2]), x[:2]), "scatter_": lambda t, x: (0, t.tensor([1]), x[:1]),
    "scatter_add_": lambda t, x: (0, t.tensor([1]), x[:1]), "cumprod_": lambda t, x: (0,), "subtract_": lambda t, x: (x,),
    "multiply_": lambda t, x: (x,), "divide_": lambda t, x: (x,), "clip_": lambda t, x: (1.5, 2.5), "arctan_": lambda t, x: (),
    "ge_": lambda t, x: (x,), "clamp_min_": lambda t, x: (1.5,), "float_power_": lambda t, x: (2,), "negative_": lambda t, x: (),
    "sgn_": lambda t, x: (), "conj_physical_": lambda t, x: (), "absolute_": lambda t, x: (),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
def test_in_place_forms_change_the_tensor_itself(name):
    """Value, gradient, version and identity, as on torch."""

    def changed(namespace):
        x = namespace.tensor([1.0, 2.0, 3.0], dtype=namespace.float64, requires_grad=True)
        y = x * 1
        assert getattr(y, name)(*FORMS[name](namespace, x)) is y
        (y * x).sum().backward()
        return y.tolist(), x.grad.tolist(), y._version, y.requires_grad

    ours, theirs = changed(engine), changed(torch)
    assert ours[0] == pytest.approx(theirs[0])
    assert ours[1] == pytest.approx(theirs[1])
    assert ours[2:] == theirs[2:]


RANDOM = {"normal_": (3.0, 0.5), "uniform_": (2.0, 4.0), "bernoulli_": (0.25,), "exponential_": (2.0,), "random_": (10,),
          "geometric_": (0.5,), "log_normal_": (0.0, 0.25), "random_ in range": (3, 7)}  # fmt: skip
MEANS = {"normal_": 3.0, "uniform_": 3.0, "bernoulli_": 0.25, "exponential_": 0.5, "random_": 4.5, "geometric_": 2.0,
         "log_normal_": math.exp(0.25**2 / 2), "random_ in range": 4.5}  # fmt: skip


@pytest.mark.parametrize("name", RANDOM)
def test_random_fillings_are_in_place_and_forget_the_past(name):
    """The mean is the distribution's, the old history gets gradient zero, and a seed gives the same numbers again."""
    x = engine.ones(4000, dtype=engine.float64, requires_grad=True)
    drawn = []
    for _ in range(2):
        engine.manual_seed(7)
        y = x * 1
        assert getattr(y, name.split()[0])(*RANDOM[name]) is y
        drawn.append(y.tolist())
    assert drawn[0] == drawn[1]
    assert sum(drawn[0]) / 4000 == pytest.approx(MEANS[name], rel=0.1)
    assert y._version == 1
    y.sum().backward()
    assert x.grad.sum().item() == 0.0


def test_impossible_distributions_are_refused():
    """Parameters outside a distribution's range, and integers where it is continuous, raise."""
    for name, arguments in (("normal_", (0, -1)), ("uniform_", (2, 1)), ("bernoulli_", (2,)), ("random_", (3, 3))):
        with pytest.raises(RuntimeError, match="expects"):
            getattr(engine.ones(2), name)(*arguments)
    with pytest.raises(NotImplementedError, match="not implemented for 'Long'"):
        engine.ones(2, dtype=engine.int64).normal_()
    with pytest.raises(RuntimeError, match="a leaf Variable that requires grad"):
        engine.ones(2, requires_grad=True).normal_()


UNRECORDED = {
    "a number": lambda e, x: x.mul_(2),
    "scaled": lambda e, x: x.sub_(x.sin(), alpha=0.5),
    "an integer": lambda e, x: x.add_(e.arange(3)),
    "a condition": lambda e, x: x.mul_(x > 0),
    "half as wide": lambda e, x: x.add_(x.float()),
    "twice as wide": lambda e, x: x.float().add_(x),
    "a row": lambda e, x: x.mul_(x[0].clone()),
    "into a column": lambda e, x: x[:, 1].add_(x[0].clone()),
    "one function": lambda e, x: x.neg_().exp_(),
    "by name": lambda e, x: x.mul_(other=3),
    "a larger one": lambda e, x: x.add_(e.ones(2, 3, 3)),
    "one that does not fit": lambda e, x: x.add_(e.ones(2)),
    "complex": lambda e, x: x.mul_(2j),
    "integers by a fraction": lambda e, x: x.long().mul_(0.5),
    "a conjugate": lambda e, x: (x + 1j).conj().mul_(1j).real,
    "nothing": lambda e, x: x.mul_(),
}


@pytest.mark.parametrize("change", UNRECORDED.values(), ids=UNRECORDED)
def test_what_is_not_recorded_is_written_where_it_stands(change):
    """Without recording, too: values, versions and errors are torch's, and the memory stays."""

    def end(e):
        x = e.tensor([[0.5, 1.0, -2.0], [3.0, 0.25, 1.5], [-1.0, 2.0, 4.0]], dtype=e.float64)
        where = x.data_ptr()
        with e.no_grad():
            try:
                result = change(e, x).tolist()
            except (RuntimeError, TypeError) as error:
                result = type(error), str(error)[:40] if isinstance(error, RuntimeError) else ""
        assert x.data_ptr() == where
        return result, x.tolist(), x._version

    assert end(engine) == end(torch)


def test_what_overlaps_is_read_before_it_is_written():
    """Operands that share memory with what is changed count with the values from before."""
    x = engine.arange(9.0).reshape(3, 3)
    with engine.no_grad():
        turned = x.clone()
        assert turned.add_(turned.t()).tolist() == (x + x.t()).tolist()
        shifted = x.clone()
        assert shifted[1:].sub_(shifted[:-1]).tolist() == (x[1:] - x[:-1]).tolist()
