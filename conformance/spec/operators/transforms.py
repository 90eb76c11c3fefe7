"""Programs of checks: laws that torch.func's transforms of one operator keep among each other.

No number is written and none is taken numerically here: `derivatives` ties the derivative itself to the mathematics, these
tie every other road to it.
"""

from __future__ import annotations

from .subject import Subject, function, laid_out

# What the examples of a batch are, as multiples of the sample: apart, and no further from it than numerical steps are.
EXAMPLES = (1, 1.002, 0.998)


def jacobian(subject: Subject) -> list[str]:
    """The same by rows, in reverse mode, as by columns, in forward mode."""
    places = places_of(subject)
    return [
        *laid_out(subject, leaves=False),
        *function(subject, subject.differentiable),
        f"by_rows = torch.func.jacrev(f, {places})({subject.inputs})",
        f"by_columns = torch.func.jacfwd(f, {places})({subject.inputs})",
        "assert by_rows == by_columns",
    ]


def linearize(subject: Subject) -> list[str]:
    """The linear function at a point is what jvp computes there, for one tangent after another, and vjp its adjoint."""
    return [
        *laid_out(subject, leaves=False),
        *function(subject, subject.differentiable),
        f"result, push = torch.func.linearize(f, {subject.inputs})",
        "for seed in [1, 2]:",
        f"    tangent = direction([{subject.inputs}], seed)",
        f"    result, pushed = torch.func.jvp(f, {subject.inputs_as_tuple}, (*tangent,))",
        "    assert push(*tangent) == pushed",
        f"result, pull = torch.func.vjp(f, {subject.inputs})",
        "cotangent = direction(result)",
        f"assert inner_product(pull({cotangents(subject)}), tangent) == inner_product(cotangent, pushed)",
    ]


def vmap(subject: Subject) -> list[str]:
    """Mapped over a batch of every input, and of each one alone, the derivative is that of example after example.

    An input that is changed in place is in every batch: documented as refused where only what it is changed by has one.
    """
    names = subject.differentiable
    lines = [
        *laid_out(subject, leaves=False),
        *function(subject, names),
        f"cotangent = direction(f({subject.inputs}))",
        "",
        f"def derivative({subject.inputs}):",
        f"    result, pull = torch.func.vjp(f, {subject.inputs})",
        f"    return pull({cotangents(subject)})",
        "",
    ]
    # The batch is the last dimension of every second input: in_dims are not all the same.
    dims = {name: -(k % 2) for k, name in enumerate(names)}
    for name, dim in dims.items():
        multiples = ", ".join(name if by == 1 else f"{name} * {by}" for by in EXAMPLES)
        lines.append(f"examples_{name} = [{multiples}]")
    alone = [(name,) for name in names] if len(names) > 1 and not subject.changes else []
    for some in [names, *alone]:
        in_dims = tuple(dims[name] if name in some else None for name in names)
        whole = (f"torch.stack(examples_{name}, {dims[name]})" if name in some else name for name in names)
        one = (f"examples_{name}[example]" if name in some else name for name in names)
        lines += [
            f"mapped = torch.func.vmap(derivative, in_dims={in_dims})({', '.join(whole)})",
            f"for example in range({len(EXAMPLES)}):",
            f"    assert tuple(gradient[example] for gradient in mapped) == derivative({', '.join(one)})",
        ]
    return lines


def hessian(subject: Subject) -> list[str]:
    """The Hessian of a sum is forward over reverse and reverse over reverse; it is symmetric."""
    inputs, names, places = subject.inputs, subject.differentiable, places_of(subject)
    summed = (
        "sum((c * r).sum() for c, r in zip(cotangent, f({0})))" if subject.several else "(cotangent * f({0})).sum()"
    )
    lines = [
        *laid_out(subject, leaves=False),
        *function(subject, names),
        f"cotangent = direction(f({inputs}))",
        "",
        f"def loss({inputs}):",
        f"    return {summed.format(inputs)}",
        "",
        f"hessian = torch.func.hessian(loss, {places})({inputs})",
        f"assert hessian == torch.func.jacfwd(torch.func.jacrev(loss, {places}), {places})({inputs})",
        f"assert hessian == torch.func.jacrev(torch.func.jacrev(loss, {places}), {places})({inputs})",
    ]
    for i, x in enumerate(names):
        for j, y in enumerate(names[: i + 1]):
            block = f".reshape({x}.numel(), {y}.numel())"
            other = f".reshape({y}.numel(), {x}.numel()).mT"
            lines.append(f"assert hessian[{i}][{j}]{block} == hessian[{j}][{i}]{other}")
    return lines


def places_of(subject: Subject) -> str:
    """argnums: all of them, as a tuple."""
    return f"argnums={tuple(range(len(subject.differentiable)))}"


def cotangents(subject: Subject) -> str:
    """What a function of vjp is called with."""
    return "tuple(cotangent)" if subject.several else "cotangent"
