"""Which checks a sample gets, and what each claims."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..checking.problem import near
from .subject import Subject

COARSE = ("float32", "float16", "bfloat16")
# The laws among torch.func's transforms, with the derivatives that they need.
TRANSFORMS = {"jacobian": ("vjp", "jvp"), "linearize": ("vjp", "jvp"), "vmap": ("vjp",), "hessian": ("jvp", "double")}
EMPTY = {"jacobian", "hessian"}
COMPLEX = {"vjp": "complex", "jvp": "complex-jvp", "double": "complex-double"}
# The dtype of floating data by check; the coarse ones are named by theirs.
DTYPES = {
    "value": "float64", "vjp": "float64", "jvp": "float64", "double": "float64", "gradient": "float64",
    "jacobian": "float64", "linearize": "float64", "vmap": "float64", "hessian": "float64",
    "complex": "complex128", "complex-jvp": "complex128", "complex-double": "complex128",
}  # fmt: skip
# Checks whose data are no leaves of a graph.
PLAIN = ("value", "jacobian", "linearize", "vmap", "hessian")
# What each check shows, beside what the operator computes.
CLAIMS = {
    "vjp": "Backward through torch.{op} agrees with the numerical derivative of its forward.",
    "jvp": "In forward mode torch.{op} agrees with the numerical derivative, and is the adjoint of backward.",
    "double": "The gradient of torch.{op} is differentiable itself, by the inputs and by the cotangent.",
    "jacobian": "The Jacobian of torch.{op} is the same by rows and by columns.",
    "linearize": "Linearized, torch.{op} is the function that jvp computes at that point, and vjp is its adjoint.",
    "vmap": "The derivative of torch.{op}, mapped over a batch, is that of one example after the other.",
    "hessian": "The Hessian of torch.{op} is the same forward over reverse and reverse over reverse, and symmetric.",
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
    """The checks of one sample."""

    def __init__(self, operator: dict[str, Any], sample: dict[str, Any], subject: Subject) -> None:
        self.operator, self.sample, self.subject = operator, sample, subject
        self.orders = operator.get("orders", 2) if subject.differentiable else 0
        self.kind = sample.get("kind", "smooth")

    def applicable(self) -> list[str]:
        """Every check that makes sense here."""
        written = ["gradient"] * ("gradient" in self.sample)
        if self.kind != "smooth":
            return ["value", *written]
        laws = [law for law in ("vjp", "jvp", "double") if self._has(law)]
        coarse = [dtype for dtype in COARSE if dtype in self.operator.get("dtypes", ["float32"])]
        numbers = [COMPLEX[law] for law in laws] if self.operator.get("complex") else []
        return ["value", *laws, *self._transforms(laws), *coarse, *numbers, *written]

    def _transforms(self, laws: list[str]) -> list[str]:
        """A Jacobian of no element says nothing; what is drawn in a transform need not be what is drawn outside."""
        without = {*TRANSFORMS} if self.subject.random else EMPTY if self.subject.empty else set()
        return [law for law, needs in TRANSFORMS.items() if {*needs} <= {*laws} and law not in without]

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
