"""The programs of derived checks: plain PyTorch, as a person would write them for one operator and one sample."""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

# What the templates call things: no name for a datum.
NAMES = frozenset({
    "f", "result", "cotangent", "seed", "tangent", "pushed", "expected", "gradient", "first", "second", "along", "wide",
})  # fmt: skip
PREFIXES = ("__", "expected_", "second_", "wide_")
# The torch paths that the templates spell.
REQUIRES = ("autograd.backward", "autograd.grad", "func.jvp", "ones_like")


@dataclass(frozen=True)
class Subject:
    """What a program is about.

    call: lines of which the last is an expression. floating, differentiable: names of data. layouts: by name, what makes
    it of the tensor given. outputs: names or numbers of the outputs that have derivatives, none where the call returns one.
    value, gradient: as the table writes them.
    """

    call: str
    floating: tuple[str, ...]
    differentiable: tuple[str, ...]
    layouts: dict[str, str] = field(default_factory=dict)
    outputs: tuple[str | int, ...] = ()
    elementwise: bool = False
    analytic: bool = False
    value: Any = None
    gradient: dict[str, Any] = field(default_factory=dict)

    @property
    def several(self) -> bool:
        """Whether f returns a tuple."""
        return len(self.outputs) > 1

    @property
    def inputs(self) -> str:
        return ", ".join(self.differentiable)


def program(check: str, subject: Subject) -> str:
    """The program of a check. Raises KeyError for a check that there is not."""
    return "\n".join(TEMPLATES[check](subject)) + "\n"


# --- parts ---


def parts(call: str) -> tuple[list[str], str]:
    """(statements, the expression that is the result) of a call. Raises ValueError where the last line is none."""
    body = ast.parse(call).body
    if not body or not isinstance(body[-1], ast.Expr):
        raise ValueError("the last line of a call is an expression: its result")
    lines = call.rstrip().split("\n")
    return lines[: body[-1].lineno - 1], "\n".join(lines[body[-1].lineno - 1 :])


def function(subject: Subject, arguments: Iterable[str]) -> list[str]:
    """f, which returns what has derivatives: one output, or a tuple."""
    statements, expression = parts(subject.call)
    lines = [*statements]
    if subject.outputs:
        lines += [f"result = {expression}"]
        expression = ", ".join(_output("result", output) for output in subject.outputs)
    lines += [f"return {expression}"]
    return [f"def f({', '.join(arguments)}):", *textwrap.indent("\n".join(lines), "    ").split("\n"), ""]


def _output(result: str, output: str | int) -> str:
    return f"{result}[{output}]" if isinstance(output, int) else f"{result}.{output}"


def laid_out(subject: Subject, leaves: bool = True) -> list[str]:
    """Lines that make the tensors that are not contiguous of those given."""
    lines = []
    for name, layout in subject.layouts.items():
        leaf = ".requires_grad_()" if leaves and name in subject.differentiable else ""
        lines.append(f"{name} = {name}{layout}{leaf}")
    return [*lines, ""] if lines else []


def backward(subject: Subject, result: str = "result", cotangent: str = "cotangent") -> str:
    return f"torch.autograd.backward({result}, {cotangent})" if subject.several else f"{result}.backward({cotangent})"


def unpacked(prefix: str, names: Iterable[str]) -> str:
    """[expected] for one input, expected_x, expected_w for several."""
    names = tuple(names)
    return f"[{prefix}]" if len(names) == 1 else ", ".join(f"{prefix}_{name}" for name in names)


def each(prefix: str, names: Iterable[str]) -> list[tuple[str, str]]:
    """(input, its `prefix` name)"""
    names = tuple(names)
    return [(name, prefix if len(names) == 1 else f"{prefix}_{name}") for name in names]


def options(subject: Subject, *names: str) -> str:
    return "".join(f", {name}=True" for name in names if getattr(subject, name))


def literal(value: Any) -> str:
    """A written value as Python; infinities and NaN by `math`, complex numbers from their text."""
    if isinstance(value, list):
        return f"[{', '.join(map(literal, value))}]"
    if isinstance(value, str):
        return repr(complex(value))
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return "math.nan" if value != value else "math.inf" if value > 0 else "-math.inf"
    return repr(value)


def written_value(value: Any) -> str:
    """A literal, or a closed form as it stands."""
    return value.strip() if isinstance(value, str) else literal(value)


# --- checks ---


def value(subject: Subject) -> list[str]:
    """The result, as written, by a closed form, or as the oracle has it."""
    lines = laid_out(subject, leaves=False)
    statements, expression = parts(subject.call)
    lines += [*statements, f"result = {expression}"]
    written = subject.value
    if isinstance(written, dict):
        keys = [int(key) if key.isdigit() else key for key in written]
        results = [_output("result", key) for key in keys]
        lines += [f"assert {r} == {written_value(v)}" for r, v in zip(results, written.values(), strict=True)]
    elif written is not None:
        result = _output("result", subject.outputs[0]) if subject.outputs else "result"
        lines.append(f"assert {result} == {written_value(written)}")
    return lines


def vjp(subject: Subject) -> list[str]:
    """Backward against the numerical derivative."""
    names = subject.differentiable
    numerical = f"numerical_vjp(f, [{subject.inputs}], cotangent{options(subject, 'elementwise', 'analytic')})"
    lines = [
        *laid_out(subject),
        *function(subject, names),
        f"result = f({subject.inputs})",
        "cotangent = direction(result)",
        backward(subject),
        f"{unpacked('expected', names)} = {numerical}",
    ]
    lines += [f"assert {name}.grad.dtype == {name}.dtype" for name in names]
    return lines + [f"assert {name}.grad == {expected}" for name, expected in each("expected", names)]


def complex_vjp(subject: Subject) -> list[str]:
    """`vjp` with complex numbers; along three tangents where an element at a time would cost two evaluations and more."""
    if subject.elementwise:
        return vjp(subject)
    names = subject.differentiable
    gradients = ", ".join(f"{name}.grad" for name in names)
    return [
        *laid_out(subject),
        *function(subject, names),
        f"result = f({subject.inputs})",
        "cotangent = direction(result)",
        backward(subject),
        *(f"assert {name}.grad.dtype == {name}.dtype" for name in names),
        "for seed in [1, 2, 3]:",
        f"    tangent = direction([{subject.inputs}], seed)",
        f"    pushed = numerical_jvp(f, [{subject.inputs}], tangent)",
        f"    assert inner_product([{gradients}], tangent) == inner_product(cotangent, pushed)",
    ]


def jvp(subject: Subject) -> list[str]:
    """Forward mode against the numerical derivative, and as the adjoint of backward."""
    names = subject.differentiable
    detached = ", ".join(f"{name}.detach()" for name in names) + "," * (len(names) == 1)
    gradients = ", ".join(f"{name}.grad" for name in names)
    return [
        *laid_out(subject),
        *function(subject, names),
        f"tangent = direction([{subject.inputs}], 1)",
        f"result, pushed = torch.func.jvp(f, ({detached}), (*tangent,))",
        f"assert pushed == numerical_jvp(f, [{subject.inputs}], tangent{options(subject, 'analytic')})",
        "cotangent = direction(result)",
        backward(subject, f"f({subject.inputs})"),
        f"assert inner_product(cotangent, pushed) == inner_product([{gradients}], tangent)",
    ]


def double(subject: Subject) -> list[str]:
    """Derivatives of the gradient, by the inputs and by the cotangent, against numerical ones."""
    names = subject.differentiable
    if subject.several:
        cotangent = "cotangent = [c.requires_grad_() for c in direction(f({0}))]"
        inputs, along = f"[{subject.inputs}, *cotangent]", "*along"
    else:
        cotangent = "cotangent = direction(f({0})).requires_grad_()"
        inputs, along = f"[{subject.inputs}, cotangent]", "along"
    seconds = [second for _, second in each("second", names)]
    lines = [
        *laid_out(subject),
        *function(subject, names),
        cotangent.format(subject.inputs),
        "",
        f"def gradient({subject.inputs}, recorded=False):",
        f"    return torch.autograd.grad(f({subject.inputs}), [{subject.inputs}], cotangent, create_graph=recorded)",
        "",
        f"first = gradient({subject.inputs}, recorded=True)",
        f"tangent = direction([{subject.inputs}], 1)",
        f"{', '.join(seconds)}, {along} = torch.autograd.grad(first, {inputs}, tangent, materialize_grads=True)",
        f"{unpacked('expected', names)} = numerical_jvp(gradient, [{subject.inputs}], tangent, leaves=True)",
    ]
    expected = [expected for _, expected in each("expected", names)]
    lines += [f"assert {found} == {right}" for found, right in zip(seconds, expected, strict=True)]
    along = "tuple(along)" if subject.several else "along"
    return [
        *lines,
        f"assert {along} == numerical_jvp(f, [{subject.inputs}], tangent{options(subject, 'analytic')})",
    ]


def coarse(subject: Subject) -> list[str]:
    """Value and gradient in a coarser dtype against the engine's own in float64, from the same numbers."""
    names, moved = subject.differentiable, subject.floating
    arguments = ", ".join(f"wide_{n}" if n in names else f"{n}.double()" for n in moved)
    lines = [*laid_out(subject), *function(subject, moved), f"result = f({', '.join(moved)})"]
    if not names:
        return [*lines, f"wide = f({arguments})", f"assert result == rounded(wide, result, [{', '.join(moved)}])"]
    cotangents = "[c.to(w.dtype) for c, w in zip(cotangent, wide)]" if subject.several else "cotangent.to(wide.dtype)"
    lines += ["cotangent = direction(result)", backward(subject)]
    lines += [f"wide_{name} = {name}.detach().double().requires_grad_()" for name in names]
    lines += [f"wide = f({arguments})", backward(subject, "wide", cotangents)]
    lines += [f"assert result == rounded(wide, result, [{', '.join(moved)}])"]
    lines += [f"assert {name}.grad.dtype == {name}.dtype" for name in names]
    sides = [(f"{name}.grad", f"wide_{name}.grad") for name in names]
    return lines + [f"assert {own} == rounded({wide}, {own}, [{', '.join(moved)}])" for own, wide in sides]


def gradient(subject: Subject) -> list[str]:
    """The documented gradient, where every output has the cotangent 1."""
    ones = "[torch.ones_like(r) for r in result]" if subject.several else "torch.ones_like(result)"
    return [
        *laid_out(subject),
        *function(subject, subject.differentiable),
        f"result = f({subject.inputs})",
        backward(subject, cotangent=ones),
        *(f"assert {name}.grad == {literal(written)}" for name, written in subject.gradient.items()),
    ]


TEMPLATES = {
    "value": value, "vjp": vjp, "jvp": jvp, "double": double, "float32": coarse, "float16": coarse, "bfloat16": coarse,
    "complex": complex_vjp, "complex-jvp": jvp, "complex-double": double, "gradient": gradient,
}  # fmt: skip
