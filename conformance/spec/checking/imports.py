"""Imports: only `from torch.X import name`, at the top, of what an import alone reaches.

Everything else that a program needs is there already, under a path or a word. The vocabulary lists the exceptions, name
by name: functions of a module that torch itself hides behind another object of the same path.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator

from .problem import Problem, near
from .vocabulary import Vocabulary

REFUSED = "import is not part of the program language"

# What a program imports elsewhere is here already, under these names.
INSTEAD = {
    "warnings": "use `with recorded_warnings() as w:` or `with warns(Type):`",
    "weakref": "use weak(x)",
    "gc": "use collect()",
    "copy": "use deep_copy(x)",
    "inspect": "use defaults(f)",
    "math": "math is there without it",
    "collections": "OrderedDict is there without it",
    "torch": "torch is there without it",
    "numpy": "use x.tolist(), or `given` for drawn data",
    "threading": "use run_threads(f, g, ...) and lock()",
    "random": "use `given` for drawn data",
    "functools": "write a lambda",
}


def imported(node: ast.ImportFrom, alias: ast.alias) -> str:
    """What is imported, as the vocabulary spells it: "autograd.gradcheck:get_numerical_jacobian"."""
    return f"{(node.module or '').removeprefix('torch.')}:{alias.name}"


def check_imports(tree: ast.Module, nodes: Collection[ast.AST], vocabulary: Vocabulary) -> Iterator[Problem]:
    """A problem for every import that the vocabulary does not list, or that does not stand at the top."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield Problem.at(node, REFUSED, _instead(node))
        elif isinstance(node, ast.ImportFrom):
            yield from _from(node, vocabulary, top=node in tree.body)


def _from(node: ast.ImportFrom, vocabulary: Vocabulary, *, top: bool) -> Iterator[Problem]:
    module = node.module or ""
    own = f"{module.removeprefix('torch.')}:"
    listed = sorted(path.partition(":")[2] for path in vocabulary.importable if path.startswith(own))
    if node.level or not module.startswith("torch.") or not listed:
        yield Problem.at(node, REFUSED, _instead(node))
        return
    if not top:
        yield Problem.at(node, "an import inside a block", "import at the top of the program")
    for alias in node.names:
        if alias.name not in listed:
            hint = near(alias.name, listed) or f"what is imported from there: {', '.join(listed)}"
            yield Problem.at(alias, f"the import of {alias.name} from {module} is not in the vocabulary", hint)


def _instead(node: ast.Import | ast.ImportFrom) -> str:
    module = (node.module or "") if isinstance(node, ast.ImportFrom) else node.names[0].name
    alias = node.names[0]
    if module.partition(".")[0] == "torch" and isinstance(node, ast.ImportFrom):
        return f"write {alias.asname or alias.name} = {module}.{alias.name}"
    if module.startswith("torch.") and alias.asname:
        return f"write {alias.asname} = {module}"
    return INSTEAD.get(module.partition(".")[0], "torch and the kit's words are there without it")
