"""How tensors print: as torch prints them, since course notes and issues are full of it."""

from __future__ import annotations

import pytest

import reference_engine
from reference_engine.printing import LINE

torch = pytest.importorskip("torch")

PRINTED = {
    "mixed": lambda t: t.tensor([1.5, 2.25, -3]),
    "bools": lambda t: t.tensor([True]),
    "ints": lambda t: t.tensor([1, -20]),
    "columns": lambda t: t.tensor([[1.0, 2.0], [3.0, 40.0]]),
    "scientific": lambda t: t.tensor([1e10, 1.0]),
    "small": lambda t: t.tensor([1e-5, 1.0]),
    "special": lambda t: t.tensor([float("nan"), float("inf"), 1.5]),
    "signed zero": lambda t: t.tensor([-0.0, 1.0]),
    "empty": lambda t: t.zeros(0, 3),
    "complex": lambda t: t.tensor([1 + 2j, 3.5 - 1j]),
    "double": lambda t: t.tensor([1.0], dtype=t.float64),
    "leaf": lambda t: t.tensor([1.0, 2.0], requires_grad=True),
    "result": lambda t: t.tensor([1.0, 2.0], requires_grad=True) * 2,
    "many": lambda t: t.arange(1001),
    "lines": lambda t: t.arange(30.0),
    "cube": lambda t: t.zeros(2, 2, 2),
    "large": lambda t: t.zeros(30, 40) + 0.5,
    "spread": lambda t: t.tensor([12345.678, 0.001]),
    "wide": lambda t: t.arange(24.0, dtype=t.float64, requires_grad=True) * 1,
    "parameter": lambda t: t.nn.Parameter(t.ones(2)),
    "scalar": lambda t: t.tensor(3.5, dtype=t.float16),
    "infinite": lambda t: t.tensor(float("-inf")),
}


@pytest.mark.parametrize("name", PRINTED)
def test_a_tensor_prints_as_torch_s(name):
    """repr, str and an f-string give the text that torch gives, and no line is longer than torch's."""
    ours, theirs = PRINTED[name](reference_engine), PRINTED[name](torch)
    assert repr(ours) == repr(theirs)
    assert f"{ours} {ours!s}" == f"{theirs} {theirs!s}"
    assert max(map(len, repr(ours).splitlines())) <= LINE


def test_one_number_formats_as_a_number():
    """A format code applies to the number of a 0-d tensor, and to no other tensor."""
    assert f"{reference_engine.tensor(3.14159):.2f} {reference_engine.tensor(7)}" == "3.14 7"
    with pytest.raises(TypeError, match="unsupported format string"):
        f"{reference_engine.tensor([3.0]):.2f}"
