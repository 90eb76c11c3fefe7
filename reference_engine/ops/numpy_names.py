"""Arguments by NumPy's names: `axis` for `dim`, `keepdims` for `keepdim`, `x` for `input`, as torch takes them too."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from reference_engine.ops import registry

SAME = {"axis": "dim", "keepdims": "keepdim", "x": "input", "x1": "input", "x2": "other"}
FUNCTIONS = """
    all amax amin aminmax any argmax argmin argsort cat chunk concat concatenate count_nonzero cummax cummin cumprod cumsum
    diff gather index_add index_copy index_fill index_select kthvalue log_softmax logcumsumexp logsumexp max mean median min mode
    nanmean nanmedian nanquantile nansum narrow norm prod quantile select softmax sort split squeeze stack std sum
    take_along_dim tensor_split topk unbind unflatten unsqueeze var
"""


def _taking_both(function: Callable) -> Callable:
    names = inspect.signature(function).parameters
    others = {given: own for given, own in SAME.items() if own in names and given not in names}

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if kwargs:
            kwargs = {others.get(name, name): value for name, value in kwargs.items()}
        return function(*args, **kwargs)

    return call


def declare() -> None:
    """Gives the functions and methods of the list both names."""
    for table in (registry.functions, registry.methods):
        for name in FUNCTIONS.split():
            if name in table:
                table[name] = _taking_both(table[name])
