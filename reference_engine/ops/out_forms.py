"""`out=` of functions whose family did not declare it: the result, or each of several, is written into what is given.

Source: torch docs, "out" arguments; they take no part in a recorded graph.
"""

from __future__ import annotations

import inspect

from reference_engine.ops import registry
from reference_engine.ops.out import with_out

FUNCTIONS = """
    all angle any argmax argmin argsort column_stack conj_physical count_nonzero cummax cummin cumprod cumsum diag
    diff dstack gather hstack index_add index_copy index_select kthvalue logcumsumexp logsumexp masked_select max
    min mode msort nanmean nanquantile nansum prod quantile scatter scatter_add scatter_reduce sgn sort stack std
    take take_along_dim topk trace tril triu var vstack
"""


def declare() -> None:
    """Gives the functions of the list an `out`; methods have none."""
    for name in FUNCTIONS.split():
        function = registry.functions[name]
        if "out" not in inspect.signature(function).parameters:
            registry.functions[name] = with_out(function, name)
