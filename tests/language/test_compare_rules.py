"""The rules of comparing, one by one, at their edges."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest

from conformance.arrays import STORED, encode
from conformance.case import Tolerance
from conformance.language.compare import compare, identical
from conformance.language.numeric import PRECISIONS, coarser
from conformance.language.values import Reader, opaque
from conformance.outcome import Items, Mapping, Number, Opaque, TensorValue
from tests.language.programs import agreed, run


def t(values: Any, dtype: str = "float32") -> TensorValue:
    array = np.array(values).astype(STORED[dtype])
    return TensorValue(dtype, array.shape, array.tobytes())


def l(*values: Any) -> Items:  # noqa: E743
    return Items("list", values)


@pytest.mark.parametrize(
    ("observed", "expected", "finding"),
    [
        (t([1.0]), l(1), None),  # a written integer is a number
        (t([1], "int64"), l(1.0), None),
        (t([1], "int64"), l(1.5), "wrong"),
        (t([2**53 + 1], "int64"), l(2**53), "wrong"),  # integers exactly, beyond what float64 can tell apart
        (2**53 + 1, 2**53, "wrong"),
        (2**70, 2**70 + 1, "wrong"),
        (10**400, 1.0, "wrong"),
        (t([255], "uint8"), l(-1), "wrong"),
        (t([2**63], "uint64"), l(2**63), None),
        (t([True], "bool"), l(True), None),
        (t([True], "bool"), l(1), "dtype"),
        (t([True], "bool"), l(1.0), "dtype"),
        (t([1.0]), l(True), "dtype"),
        (t([1.0, 1.0]), l(1.0, True), "dtype"),
        (t([True], "bool"), t([1], "int64"), "dtype"),
        (t([True, True], "bool"), l(True, 1), "dtype"),
        (True, 1.0, "dtype"),
        (1, True, "dtype"),
        (True, None, "semantics"),
        (t([]), l(), None),
        (t([[], []]), l(l(), l()), None),
        (t([]), l(l()), "shape"),
        (t(1.0), 1.0, None),
        (t([1.0]), 1.0, "shape"),
        (t(1.0), l(1.0), "shape"),
        (t([[1.0], [2.0]]), l(l(1.0), l(2.0, 3.0)), "semantics"),  # ragged: no tensor looks like it
        (t([1.0]), None, "semantics"),
        (None, t([0.0]), "semantics"),  # None, zeros and missing are three answers
        (t([1.0]), "1.0", "semantics"),
        (t([1 + 2j], "complex64"), l(1 + 2j), None),
        (t([1 + 0j], "complex64"), l(1.0), None),
        (t([1.0]), l(1 + 1j), "wrong"),
        (t([1 + 1j], "complex64"), l(1 - 1j), "wrong"),
        (Number(1.0, 2.0), Number(1.0, 2.0), None),
        (1 + 0j, 1.0, None),
        (l(1.0, 2.0), l(1.0), "shape"),
        (l(1.0), Items("tuple", (1.0,)), "semantics"),
        (t([1.0]), Items("tuple", (1.0,)), None),  # beside a tensor a tuple is a nested list
        (l(t([1.0]), None), l(l(1.0), None), None),
        (l(t([1.0]), t([2.0])), l(l(1.0), l(3.0)), "wrong"),
        (Mapping({"a": 1.0}), Mapping({"a": 1.0}), None),
        (Mapping({"a": 1.0}), Mapping({"b": 1.0}), "semantics"),
        (Mapping({"a": 1.0}), Mapping({"a": 2.0}), "wrong"),
        ("a", "a", None),
        ("a", "b", "semantics"),
        (Opaque("Node", ""), Opaque("Other", ""), None),
        (Opaque("Node", ""), None, "semantics"),
    ],
)  # fmt: skip
def test_what_agrees_and_what_the_difference_is_called(observed, expected, finding):
    """Both ways round: the rule has no preferred side."""
    assert compare(observed, expected).finding == finding
    assert compare(expected, observed).finding == finding


@pytest.mark.parametrize("dtype", sorted(PRECISIONS))
def test_each_dtype_has_its_own_tolerance(dtype):
    """Half of it agrees, twice does not, relative to large numbers and absolute near zero."""
    rtol, atol = PRECISIONS[dtype].rtol, PRECISIONS[dtype].atol
    name = {"complex32": "complex64"}.get(dtype, dtype)
    big, zero = t([1000.0], dtype), t([0.0], dtype)
    assert compare(big, l(1000.0 * (1 + rtol / 2))).agrees
    assert not compare(big, l(1000.0 * (1 + 3 * rtol) + 3 * atol)).agrees
    assert compare(zero, l(atol / 2)).agrees
    assert not compare(zero, l(2.5 * atol)).agrees
    assert STORED[name].kind in "fc"


def test_computing_in_float32_behind_a_float64_label_is_seen():
    """float64's tolerance is finer than float32's rounding."""
    exact = np.array([1 / 3])
    assert compare(encode(exact.astype(np.float32).astype(np.float64)), encode(exact)).finding == "wrong"


def test_between_two_dtypes_the_coarser_decides():
    """A float64 beside a bfloat16 can only be as good as the bfloat16."""
    assert coarser("float64", "bfloat16") == coarser("bfloat16", "float64") == "bfloat16"
    assert coarser("int64", "bool") == "float64"
    assert compare(t([1.0], "bfloat16"), t([1.01], "float64")).agrees
    assert not compare(t([1.0], "float32"), t([1.01], "float64")).agrees


NOT_NUMBERS = [math.nan, math.inf, -math.inf, 1.0]


@pytest.mark.parametrize("a", NOT_NUMBERS)
@pytest.mark.parametrize("b", NOT_NUMBERS)
def test_nan_and_infinities_stand_at_the_same_places(a, b):
    """As numbers, in tensors, as parts of complex numbers, and under any tolerance."""
    same = a == b or (a != a and b != b)
    wide = Tolerance("anything goes", rtol=1e30, atol=1e30)
    for tolerance in (None, wide, Tolerance("as a whole", relative_l2=1e30)):
        assert compare(t([2.0, a]), l(2.0, b), tolerance).agrees is same
        assert compare(t([2.0, a], "float64"), t([2.0, b], "float64"), tolerance).agrees is same
        assert compare(t([complex(0, a)], "complex64"), l(complex(0, b)), tolerance).agrees is same
    assert compare(a, b).agrees is same


def test_numbers_too_large_for_a_dtype_are_compared_without_a_warning():
    """1e39 is no float32: the comparison must neither warn nor call it infinite."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not compare(t([math.inf]), l(1e39)).agrees
        assert not compare(t([1.0]), l(1e39)).agrees
        assert not compare(t([1.0], "float16"), l(70000.0)).agrees
        assert not compare(t([1.7e308], "float64"), l(-1.7e308)).agrees
        assert not compare(t([1.0]), l(10**400)).agrees


def test_the_whole_of_a_tensor_may_be_compared():
    """relative_l2 bounds ||a - b|| / ||b||, b being the expected side; beside zeros atol decides."""
    whole = Tolerance("rounding of a deep network", relative_l2=1e-2)
    assert compare(t([100.0, 0.5]), l(100.0, 0.0), whole).agrees
    assert not compare(t([100.0, 2.0]), l(100.0, 0.0), whole).agrees
    assert compare(t([1e-7, 0.0]), l(0.0, 0.0), whole).agrees
    assert not compare(t([1e-3, 0.0]), l(0.0, 0.0), whole).agrees


def test_the_measure_points_at_the_worst_element_through_containers():
    """The index is that of the container's item, then that of the tensor's element."""
    measure = compare(l(t([[1.0, 2.0]]), t([[3.0, 4.0]])), l(t([[1.0, 2.0]]), t([[3.0, 5.0]]))).measure
    assert measure is not None
    assert (measure.index, measure.max_abs, measure.max_rel) == ((1, 0, 1), 1.0, 0.2)
    one_ulp = compare(t([np.nextafter(np.float32(1), np.float32(2))]), l(1.0), Tolerance("none", rtol=0.0, atol=0.0))
    assert one_ulp.measure is not None
    assert one_ulp.measure.ulps == 1.0


@pytest.mark.parametrize(
    ("a", "b", "holds"),
    [
        (0.0, -0.0, False), (-0.0, -0.0, True), (1, 1.0, False), (math.nan, math.nan, True), (1, 1, True),
        (t([0.1]), l(0.1), True),  # rounded to the tensor's dtype first
        (t([0.1]), t([0.1], "float64"), False),
        (t([0.0]), l(-0.0), False), (t([1.0]), 1.0, False), (t([True], "bool"), l(1), False), (t([1], "int64"), l(1.5), False),
        (t([complex(0.0, -0.0)], "complex64"), l(complex(0.0, 0.0)), False),
        (l(t([1.0]), 0.0), l(t([1.0]), 0.0), True), (l(t([1.0]), 0.0), l(t([1.0]), -0.0), False),
        (l(1.0), Items("tuple", (1.0,)), False), ("a", "a", True), (None, 0.0, False),
    ],
)  # fmt: skip
def test_identical_is_bit_for_bit(a, b, holds):
    """Signs of zero, dtypes and types count; NaN is NaN."""
    assert identical(a, b) is holds
    assert identical(b, a) is holds


def test_what_the_kit_cannot_look_into_is_compared_by_the_program_itself():
    """In an assert, objects of the engine are compared by their own ==, inside containers too."""
    assert agreed("""
        x = torch.ones(1, requires_grad=True)
        y, z = x * 2, x * 3
        assert y.grad_fn == y.grad_fn
        assert y.grad_fn == z.grad_fn
        assert [y.grad_fn, 1.0] == [y.grad_fn, 1.0]
        assert [y.grad_fn, 1.0] == [z.grad_fn, 1.0]
        assert [x.dtype, y.shape] == [torch.float32, (1,)]
        assert {1: x} == {1: [1.0]}
        assert {1: x} == {"1": [1.0]}
        assert {1, 2} == {2, 1}
        assert {1, 2} == {1, 3}
    """) == [True, False, True, False, True, True, False, True, False]


def test_long_text_is_compared_before_it_is_cut():
    """What is kept of a string is short; what is compared is all of it."""
    end = run("a = 'x' * 5000\nassert a + 'y' == a + 'z'\nassert a == a")
    assert [o.agrees for o in end.observations] == [False, True]
    assert len(end.observations[0].value) < 2100


def test_containers_that_contain_themselves_are_read():
    """A cycle is named, not followed."""
    end = run("a = [1.0]\na.append(a)\nd = {}\nd['d'] = d\nassert len(a) == 2")
    assert end.state["a"].items[1] == Opaque("list", "contains itself")
    assert end.state["d"].items["d"] == Opaque("dict", "contains itself")


def test_text_of_strangers_objects_is_not_asked_for():
    """A __repr__ may belong to the engine, and run it."""

    class Loud:
        def __repr__(self):
            raise AssertionError("asked")

        __str__ = __repr__

    assert opaque(Loud()) == Opaque("Loud", "")
    assert opaque(Loud) == Opaque("type", "Loud")


def test_a_tensor_is_read_once_however_often_it_occurs():
    """One reader, one read."""

    class Engine:
        reads = 0

        def is_tensor(self, value):
            return value == "tensor"

        def read(self, value):
            self.reads += 1
            return t([1.0])

    engine = Engine()
    reader = Reader(engine)  # type: ignore[arg-type]
    value = "tensor"
    assert reader.plain([value, (value,), {"k": value}]) == l(
        t([1.0]), Items("tuple", (t([1.0]),)), Mapping({"k": t([1.0])})
    )
    assert engine.reads == 1
