"""The programs of derived checks: plain PyTorch, as a person would write them for one operator and one sample."""

from __future__ import annotations

from . import derivatives, transforms
from .subject import Subject

# What the templates call things: no name for a datum.
NAMES = frozenset({
    "f", "result", "cotangent", "seed", "tangent", "pushed", "expected", "gradient", "first", "second", "along", "wide",
    "by_rows", "by_columns", "push", "pull", "derivative", "mapped", "example", "loss", "hessian",
})  # fmt: skip
PREFIXES = ("__", "expected_", "second_", "wide_", "examples_")
# The torch paths that the templates spell.
REQUIRES = (
    "autograd.backward", "autograd.grad", "func.hessian", "func.jacfwd", "func.jacrev", "func.jvp", "func.linearize",
    "func.vjp", "func.vmap", "ones_like", "stack",
)  # fmt: skip
TEMPLATES = {
    "value": derivatives.value, "vjp": derivatives.vjp, "jvp": derivatives.jvp, "double": derivatives.double,
    "float32": derivatives.coarse, "float16": derivatives.coarse, "bfloat16": derivatives.coarse,
    "complex": derivatives.complex_vjp, "complex-jvp": derivatives.jvp, "complex-double": derivatives.double,
    "gradient": derivatives.gradient,
    "jacobian": transforms.jacobian, "linearize": transforms.linearize, "vmap": transforms.vmap, "hessian": transforms.hessian,
}  # fmt: skip


def program(check: str, subject: Subject) -> str:
    """The program of a check. Raises KeyError for a check that there is not."""
    return "\n".join(TEMPLATES[check](subject)) + "\n"
