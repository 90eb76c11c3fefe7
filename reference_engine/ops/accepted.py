"""What elementwise operators accept beside tensors of floats: numbers, integers, bools. torch's errors for what they do not.

Checked on an operator's long path, which is the one that such arguments take.
"""

from __future__ import annotations

from collections.abc import Callable

from reference_engine import dtypes
from reference_engine.ops import registry
from reference_engine.ops.kinds import NUMBERS
from reference_engine.tensor import Tensor

TENSORS_ONLY = ["atan2", "maximum", "minimum", "fmax", "fmin", "hypot", "logaddexp", "logaddexp2", "nextafter"]
# Operators whose kernels have no form for integers and bools, or for bools; named as in unordered.py.
NO_INTEGERS = {"hypot": "hypot_cpu", "logaddexp": "logaddexp_cpu", "logaddexp2": "logaddexp2_cpu",
               "nextafter": "nextafter_cpu", "frac": "frac_cpu"}  # fmt: skip
NO_BOOLS = {"ceil": "ceil_vml_cpu", "floor": "floor_vml_cpu", "trunc": "trunc_vml_cpu", "fmod": "fmod_cpu",
            "remainder": "remainder_cpu", "floor_divide": "div_floor_cpu"}  # fmt: skip


def _checker(name: str, tensors_only: bool, kernel: str | None, least: int) -> Callable:
    """The check of an operator's inputs: no numbers; a common type of at least the category `least`."""
    positions = ("input", "other")

    def check(inputs: tuple) -> None:
        for i, x in enumerate(inputs):
            if tensors_only and isinstance(x, NUMBERS):
                raise TypeError(f"{name}(): argument '{positions[i]}' (position {i + 1}) must be Tensor, not "
                                f"{type(x).__name__}")  # fmt: skip
        if kernel is not None:
            common = dtypes.result_type([dtypes.operand(x) for x in inputs if isinstance(x, (Tensor, *NUMBERS))])
            if common.category < least:
                raise NotImplementedError(f"\"{kernel}\" not implemented for '{dtypes.type_name(common)}'")

    return check


def declare() -> None:
    """Lets the operators check, once all families have declared them."""
    for name in {*TENSORS_ONLY, *NO_INTEGERS, *NO_BOOLS}:
        operator = vars(registry.functions[name])["operator"]
        kernel = NO_INTEGERS.get(name) or NO_BOOLS.get(name)
        least = dtypes.FLOATING if name in NO_INTEGERS else dtypes.INTEGER
        operator.refuses_bool = _checker(name, name in TENSORS_ONLY, kernel, least)
