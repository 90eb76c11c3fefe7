"""Which checks a sample gets, and what each claims."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..checking.problem import near

COARSE = ("float32", "float16", "bfloat16")
COMPLEX = {"vjp": "complex", "jvp": "complex-jvp", "double": "complex-double"}
# The dtype of floating data by check; the coarse ones are named by theirs.
DTYPES = {
    "value": "float64", "vjp": "float64", "jvp": "float64", "double": "float64", "gradient": "float64",
    "complex": "complex128", "complex-jvp": "complex128", "complex-double": "complex128",
}  # fmt: skip
# What each check shows, beside what the operator computes.
CLAIMS = {
    "vjp": "Backward through torch.{op} agrees with the numerical derivative of its forward.",
    "jvp": "In forward mode torch.{op} agrees with the numerical derivative, and is the adjoint of backward.",
    "double": "The gradient of torch.{op} is differentiable itself, by the inputs and by the cotangent.",
    "float32": "In float32 torch.{op} and its gradient are those of float64, rounded.",
    "float16": "In float16 torch.{op} and its gradient are those of float64, rounded.",
    "bfloat16": "In bfloat16 torch.{op} and its gradient are those of float64, rounded.",
    "complex": "For complex numbers the gradient of torch.{op} is d/dRe + i d/dIm of the real loss.",
    "complex-jvp": "In forward mode torch.{op} agrees with the numerical derivative along complex tangents.",
    "complex-double": "The gradient of torch.{op} for complex numbers is differentiable itself.",
}


def claim(check: str, written: str, op: str) -> str:
    """The claim of a case: what the table says for value and gradient, a law for the others."""
    return CLAIMS[check].format(op=op) if check in CLAIMS else written


class Checks:
    """The checks of one sample. `derivable`: whether an input of it has a derivative."""

    def __init__(self, operator: dict[str, Any], sample: dict[str, Any], derivable: bool) -> None:
        self.operator, self.sample = operator, sample
        self.orders = operator.get("orders", 2) if derivable else 0
        self.kind = sample.get("kind", "smooth")

    def applicable(self) -> list[str]:
        """Every check that makes sense here."""
        written = ["gradient"] * ("gradient" in self.sample)
        if self.kind != "smooth":
            return ["value", *written]
        laws = [law for law in ("vjp", "jvp", "double") if self._has(law)]
        coarse = [dtype for dtype in COARSE if dtype in self.operator.get("dtypes", ["float32"])]
        numbers = [COMPLEX[law] for law in laws] if self.operator.get("complex") else []
        return ["value", *laws, *coarse, *numbers, *written]

    def _has(self, law: str) -> bool:
        """Whether a derivative has this law here: of first order, in forward mode, of second order."""
        if law == "jvp" and not self.operator.get("forward", True):
            return False
        return self.orders >= (2 if law == "double" else 1)

    def made(self) -> list[str]:
        """Those that are made."""
        asked = self.sample.get("only")
        return [c for c in self.applicable() if (asked is None or c in asked) and not self._left_out(c)]

    def _left_out(self, check: str) -> bool:
        return any("left_out" in said.get("checks", {}).get(check, {}) for said in (self.operator, self.sample))

    def mistakes(self) -> Iterator[tuple[str, str, str | None]]:
        """(key of the sample, what is wrong, hint)"""
        every = self.applicable()
        for key in ("only", "checks"):
            for check in self.sample.get(key, ()):
                if check not in every:
                    yield (
                        key,
                        f"the check '{check}' does not apply here",
                        near(check, every) or f"one of {', '.join(every)}",
                    )
        if self.kind == "kink" and self.orders and "gradient" not in self.sample:
            yield (
                "kind",
                "a kink has the documented gradient",
                "gradient: {x: [...]} where every output has the cotangent 1",
            )
        if not self.made():
            yield "id", "no check is made of this sample", None
