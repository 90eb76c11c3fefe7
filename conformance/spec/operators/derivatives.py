"""Programs of checks: value and derivatives of one operator, as a person would write them in plain PyTorch."""

from __future__ import annotations

from .subject import Subject, backward, each, function, laid_out, literal, options, output_of, parts, unpacked, written_value


def value(subject: Subject) -> list[str]:
    """The result, as written, by a closed form, or as the oracle has it."""
    lines = laid_out(subject, leaves=False)
    statements, expression = parts(subject.call)
    lines += [*statements, f"result = {expression}"]
    written = subject.value
    if isinstance(written, dict):
        keys = [int(key) if key.isdigit() else key for key in written]
        results = [output_of("result", key) for key in keys]
        lines += [f"assert {r} == {written_value(v)}" for r, v in zip(results, written.values(), strict=True)]
    elif written is not None:
        result = output_of("result", subject.outputs[0]) if subject.outputs else "result"
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
