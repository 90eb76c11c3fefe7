"""`out=` of functions whose family did not declare it: the result, or each of several, is written into what is given.

Source: torch docs, "out" arguments; they take no part in a recorded graph.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from reference_engine.ops import registry
from reference_engine.ops.elementwise_kind import _into

FUNCTIONS = """
    all any argmax argmin argsort column_stack count_nonzero cummax cummin cumprod cumsum diag diff dstack gather hstack
    index_add index_copy index_select kthvalue logcumsumexp logsumexp masked_select max min mode msort nanmean nanquantile
    nansum prod quantile scatter scatter_add scatter_reduce sort stack std take take_along_dim topk trace tril triu var
    vstack
"""


def _writing(name: str, function: Callable) -> Callable:
    @functools.wraps(function)
    def call(*args: Any, out: Any = None, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        if out is None:
            return result
        if isinstance(result, tuple):
            return type(result)(_into(r, o, name) for r, o in zip(result, out, strict=True))
        return _into(result, out, name)

    return call


def declare() -> None:
    """Gives the functions of the list an `out`; methods have none."""
    for name in FUNCTIONS.split():
        function = registry.functions[name]
        if "out" not in inspect.signature(function).parameters:
            registry.functions[name] = _writing(name, function)
