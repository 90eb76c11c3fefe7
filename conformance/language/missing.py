"""Telling "the engine does not have this" from "the engine did this wrong", by the exception that came.

A name is missing when the program itself looked it up on one of the engine's objects and Python did not find it; an
AttributeError from deep inside an engine is an error of that engine. The same holds for an operator or a parameter
that the engine's functions do not have. Everything here is rare, so it reads the program's text only when asked.
"""

from __future__ import annotations

import ast
import re
from functools import lru_cache
from types import TracebackType
from typing import Any, NamedTuple

from conformance.engines.base import Engine, Unsupported, public_path
from conformance.text import one_line, safe_text

from .lower import FILENAME

_LOOKING_UP = frozenset({"__getattr__", "__getattribute__"})
# What has attributes of its own and nothing of an engine's.
_PYTHONS = (type(None), bool, int, float, complex, str, bytes, list, tuple, dict, set, frozenset, BaseException)

_OPERATORS = {
    "+": "add", "-": "sub", "*": "mul", "/": "truediv", "//": "floordiv", "%": "mod", "@": "matmul", "&": "and",
    "|": "or", "^": "xor", "<<": "lshift", ">>": "rshift", "** or pow()": "pow", "<": "lt", "<=": "le", ">": "gt",
    ">=": "ge", "+=": "iadd", "-=": "isub", "*=": "imul", "/=": "itruediv", "//=": "ifloordiv", "%=": "imod",
    "@=": "imatmul", "**=": "ipow", "&=": "iand", "|=": "ior", "^=": "ixor", "<<=": "ilshift", ">>=": "irshift",
}  # fmt: skip
_BINARY = re.compile(r"(?:unsupported operand type\(s\) for|'(?=[<>]))(?P<pad>:? ?)(?P<sign>[^:']+)")
_UNARY = {
    re.compile(r"bad operand type for unary -"): "__neg__",
    re.compile(r"bad operand type for unary \+"): "__pos__",
    re.compile(r"bad operand type for unary ~"): "__invert__",
    re.compile(r"bad operand type for abs"): "__abs__",
    re.compile(r"object is not subscriptable"): "__getitem__",
    re.compile(r"object does not support item assignment"): "__setitem__",
    re.compile(r"object is not iterable"): "__iter__",
    re.compile(r"has no len\(\)"): "__len__",
    re.compile(r"object is not callable"): "__call__",
    re.compile(r"is not a container or iterable|argument of type .* is not iterable"): "__contains__",
    re.compile(r"object does not support the context manager protocol"): "__enter__",
}
_SIGNATURE = re.compile(
    r"(?P<function>[\w.<>]+)\(\) (?:got an unexpected keyword argument '(?P<keyword>\w+)'"
    r"|takes .*positional arguments? but .* (?:was|were) given|takes no (?:keyword )?arguments.*"
    r"|takes exactly .* argument.*|got some positional-only arguments.*)"
)


class _Names(NamedTuple):
    read: frozenset[str]
    written: frozenset[str]
    functions: frozenset[str]


@lru_cache(maxsize=64)
def _names(program: str) -> _Names:
    """The attributes that a program reads and those that it writes itself, and its own functions' qualified names."""
    tree = ast.parse(program)
    read: set[str] = set()
    written: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            (read if isinstance(node.ctx, ast.Load) else written).add(node.attr)
    return _Names(frozenset(read), frozenset(written), frozenset(_qualified(tree, "")))


def _qualified(node: ast.AST, prefix: str) -> set[str]:
    found = set()
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.ClassDef):
            name = prefix + child.name
            inner = "." if isinstance(child, ast.ClassDef) else ".<locals>."
            found |= {name} | _qualified(child, name + inner)
        elif isinstance(child, ast.Lambda):
            found |= {f"{prefix}<lambda>"} | _qualified(child, f"{prefix}<lambda>.<locals>.")
        else:
            found |= _qualified(child, prefix)
    return found


def missing_name(error: BaseException, program: str, engine: Engine) -> str | None:
    """What the engine lacks, by name, if that is what `error` says; None for every other exception."""
    seen: BaseException | None = error
    while seen is not None:
        if found := _missing(seen, program, engine):
            return found
        seen = seen.__cause__
    return None


def _missing(error: BaseException, program: str, engine: Engine) -> str | None:
    if isinstance(error, Unsupported):
        return safe_text(error) or "Unsupported"
    if isinstance(error, NotImplementedError):
        return one_line(error, 200)
    if isinstance(error, AttributeError):
        return _attribute(error, program, engine)
    if isinstance(error, TypeError) and _raised_by_program(error.__traceback__):
        return _operator(safe_text(error), engine) or _parameter(safe_text(error), program)
    return None


def _attribute(error: AttributeError, program: str, engine: Engine) -> str | None:
    name, owner = error.name, error.obj
    names = _names(program)
    if not name or name not in names.read or name in names.written or isinstance(owner, _PYTHONS):
        return None
    return public_path(engine.namespace, owner, name) if _raised_by_program(error.__traceback__) else None


def _operator(message: str, engine: Engine) -> str | None:
    """An operator that Python did not find on the engine's tensors: "Tensor.__matmul__"."""
    tensor = next(iter(getattr(engine, "tensor_types", ())), None)
    if tensor is None or f"'{tensor.__name__}'" not in message:
        return None
    for pattern, method in _UNARY.items():
        if pattern.search(message):
            return None if _defines(tensor, method) else f"{tensor.__name__}.{method}"
    if found := _BINARY.match(message):
        operation = _OPERATORS.get(found["sign"].strip())
        if operation and not _defines(tensor, f"__{operation}__"):
            return f"{tensor.__name__}.__{operation}__"
    return None


def _defines(tensor: type, method: str) -> bool:
    """Whether a class has the method, and not only from `object`, which has empty comparisons."""
    return getattr(tensor, method, None) is not getattr(object, method, None)


def _parameter(message: str, program: str) -> str | None:
    """A parameter that an engine's function does not take: "Tensor.backward(retain_graph=)"."""
    found = _SIGNATURE.match(message)
    if found is None or found["function"] in _names(program).functions:
        return None
    return f"{found['function']}({found['keyword']}=)" if found["keyword"] else message


def _raised_by_program(traceback: TracebackType | None) -> bool:
    """Whether the innermost code that ran was the program's, not counting an engine's own attribute lookup."""
    inside = False
    while traceback is not None:
        code = traceback.tb_frame.f_code
        if code.co_filename == FILENAME:
            inside = True
        elif code.co_name not in _LOOKING_UP:
            inside = False
        traceback = traceback.tb_next
    return inside


def line_of(error: BaseException) -> int:
    """The program's line that `error` came from, 0 where it did not come through the program."""
    line, traceback = 0, error.__traceback__
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == FILENAME:
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    return line


def named(types: Any, kind: type[BaseException]) -> bool:
    """Whether `kind`, or a kind of it, is among the types that a program names."""
    every = types if isinstance(types, tuple) else (types,)
    return any(isinstance(item, type) and issubclass(item, kind) for item in every)
