"""A case as a script for plain torch: `python script.py` prints OK, or stops at the assertion that does not hold.

The program stays as it is written, except that an `==` at the top of an assert becomes `same(...)`, since Python's own
would compare otherwise.
"""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterable
from typing import Any

from conformance.case import Case, Given, Tolerance
from conformance.drawing import DEFAULTS, draw

from .checking.equality import links
from .prelude import PIECES

INLINE = 64  # drawn data of at most so many numbers are written out

NAMELESS = re.compile(r"\b(inf|nan)\b")  # as Python writes numbers that have no literal

DRAW = """
def drawn(seed, draw, dtype):
    \"\"\"Data drawn by NumPy's Philox generator in float64, rounded once to the dtype.\"\"\"
    return torch.from_numpy(numpy.asarray(draw(numpy.random.Generator(numpy.random.Philox(key=seed))))).to(dtype)
"""


def standalone(case: Case) -> str:
    """The script's text. It needs torch, and NumPy where a case's drawn data are too many to write out."""
    program = rewrite(case.program)
    used = _names(program)
    given = [_given(data) for data in case.given]
    drawn = any("drawn(" in line for line in given)
    parameters = [f"{name} = {_literal(value)}" for name, value in case.parameters.items()]
    prelude, imports = _prelude(used, case.tolerance)
    if drawn:
        imports |= {"numpy"}
        prelude.append(DRAW)
    parts = [_header(case), _imports(imports)]
    parts += [f"\n{piece.strip()}\n" for piece in prelude]
    parts.append("\n".join([*parameters, *given]))
    parts.append(program.rstrip())
    parts.append('print("OK")')
    return "\n".join(part.rstrip() + "\n" for part in parts if part)


def rewrite(program: str) -> str:
    """The program with `same(a, b)` for each `a == b` that is a link of an assert's test, the rest untouched."""
    lines = program.encode().splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))
    content = b"".join(lines)
    comparisons = [
        link
        for node in ast.walk(ast.parse(program))
        if isinstance(node, ast.Assert)
        for link in links(node.test)
        if isinstance(link, ast.Compare) and _needs_same(link)
    ]
    for link in sorted(comparisons, key=lambda c: (c.lineno, c.col_offset), reverse=True):
        begin = starts[link.lineno - 1] + link.col_offset
        end = starts[(link.end_lineno or 1) - 1] + (link.end_col_offset or 0)
        content = content[:begin] + _as_same(link, content, starts).encode() + content[end:]
    return content.decode()


EXACT = {"dtype", "shape", "device", "layout", "ndim", "message", "type"}


def _needs_same(link: ast.Compare) -> bool:
    """Whether Python's own `==` may differ from the kit's in this comparison."""
    sides = [link.left, *link.comparators]
    for operator, left, right in zip(link.ops, sides, sides[1:], strict=False):
        if isinstance(operator, ast.Eq | ast.NotEq) and not any(_exact(side) for side in (left, right)):
            return True
    return False


def _exact(node: ast.expr) -> bool:
    if isinstance(node, ast.Constant):
        return isinstance(node.value, str | bytes)
    return isinstance(node, ast.Attribute) and node.attr in EXACT


def _as_same(link: ast.Compare, content: bytes, starts: list[int]) -> str:
    """The links of a chain, joined by `and`; what stands in the middle is evaluated once, as Python does."""
    sides = [link.left, *link.comparators]
    texts = [_source(side, content, starts) for side in sides]
    parts = []
    for index, operator in enumerate(link.ops):
        left, right = texts[index], texts[index + 1]
        last = index == len(link.ops) - 1
        if not last and not isinstance(sides[index + 1], ast.Name | ast.Constant):
            texts[index + 1], right = f"_{index}", f"(_{index} := {right})"
        if isinstance(operator, ast.Eq | ast.NotEq):
            parts.append(f"{'not ' if isinstance(operator, ast.NotEq) else ''}same({left}, {right})")
        else:
            parts.append(f"{left} {SIGNS[type(operator)]} {right}")
    return " and ".join(parts)


SIGNS = {
    ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=",
    ast.Is: "is", ast.IsNot: "is not", ast.In: "in", ast.NotIn: "not in",
}  # fmt: skip


def _source(node: ast.expr, content: bytes, starts: list[int]) -> str:
    begin = starts[node.lineno - 1] + node.col_offset
    end = starts[(node.end_lineno or 1) - 1] + (node.end_col_offset or 0)
    text = content[begin:end].decode()
    return f"({text})" if isinstance(node, ast.GeneratorExp | ast.NamedExpr) and text[:1] != "(" else text


def _names(program: str) -> set[str]:
    return {node.id for node in ast.walk(ast.parse(program)) if isinstance(node, ast.Name)}


def _prelude(used: set[str], tolerance: Tolerance | None) -> tuple[list[str], set[str]]:
    """The pieces that the used words need, in a fixed order, and what they import."""
    wanted = used & PIECES.keys()
    wanted |= {need for word in wanted for need in PIECES[word].needs}
    pieces = [PIECES[word].text for word in PIECES if word in wanted and PIECES[word].text]
    imports = {module for word in wanted for module in PIECES[word].imports}
    if tolerance is not None and "same" in wanted:
        pieces.append(_tolerance(tolerance))
    return pieces, imports


def _tolerance(tolerance: Tolerance) -> str:
    """Overrides of the default tolerance, with their reason."""
    reason = textwrap.indent(textwrap.fill(tolerance.reason, 110), "# ")
    if tolerance.relative_l2 is not None:
        return (
            f"{reason}\ndef _close(a, b, rtol, atol):\n"
            f"    a, b = a.to(torch.complex128), b.to(torch.complex128)\n"
            f"    return bool((a - b).norm() <= {tolerance.relative_l2!r} * b.norm() or (a - b).norm() <= atol)\n"
        )
    own = [tolerance.rtol, tolerance.atol]
    entry = ", ".join(name if value is None else repr(value) for name, value in zip(("rtol", "atol"), own, strict=True))
    return f"{reason}\nTOLERANCE = {{dtype: ({entry}) for dtype, (rtol, atol) in TOLERANCE.items()}}\n"


def _header(case: Case) -> str:
    lines = [f"{case.name}: {' '.join(case.claim.split())}", f"Source: {case.source}"]
    lines += [f"torch itself departs: {case.torch_departs}"] if case.torch_departs else []
    return "\n".join(textwrap.fill(line, 110, initial_indent="# ", subsequent_indent="# ") for line in lines)


def _imports(imports: Iterable[str]) -> str:
    plain = sorted(f"import {name}" for name in imports if not name.startswith("from "))
    named = sorted(name for name in imports if name.startswith("from "))
    return "\n".join([*plain, *named]) + ("\n\n" if imports else "") + "import torch"


def _literal(value: Any) -> str:
    return value if isinstance(value, str) and value.startswith("torch.") else repr(value)


def _given(given: Given) -> str:
    """The statement that makes one piece of drawn data."""
    count = 1
    for size in given.shape:
        count *= size
    tail = ".requires_grad_()" if given.requires_grad else ""
    if count > INLINE:
        return f"{given.name} = drawn({given.seed}, lambda g: {_formula(given)}, torch.{given.dtype}){tail}"
    grad = ", requires_grad=True" if given.requires_grad else ""
    if count == 0:
        return f"{given.name} = torch.zeros({given.shape}, dtype=torch.{given.dtype}{grad})"
    elements = NAMELESS.sub(r"torch.\g<0>", repr(draw(given).tolist()))
    return f"{given.name} = torch.tensor({elements}, dtype=torch.{given.dtype}{grad})"


def _formula(given: Given) -> str:
    p = {**DEFAULTS[given.distribution], **given.parameters}
    shape = given.shape
    text = {
        "normal": lambda: f"{p['mean']} + {p['std']} * g.standard_normal({shape})",
        "uniform": lambda: f"{p['low']} + {p['high'] - p['low']} * g.random({shape})",
        "integers": lambda: f"g.integers({int(p['low'])}, {int(p['high'])}, {shape})",
        "bernoulli": lambda: f"g.random({shape}) < {p['p']}",
    }[given.distribution]()
    return f"({text}) + 1j * ({text})" if given.dtype.startswith("complex") else text
