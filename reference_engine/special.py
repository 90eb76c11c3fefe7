"""torch.special: special functions. They are declared in ops/."""

from __future__ import annotations

from reference_engine.batching.examplewise import examplewise
from reference_engine.ops import registry
from reference_engine.ops.special import (
    entr,
    erfcx,
    gammainc,
    gammaincc,
    i0e,
    i1,
    i1e,
    log_ndtr,
    ndtr,
    ndtri,
    polygamma,
    untracked,
    xlog1py,
    zeta,
)

digamma, erf, erfc, erfinv, exp2, expm1, i0, log1p, log_softmax, logit, logsumexp, round, sinc, softmax, xlogy = (
    registry.functions[name]
    for name in (
        "digamma", "erf", "erfc", "erfinv", "exp2", "expm1", "i0", "log1p", "log_softmax", "logit", "logsumexp", "round",
        "sinc", "softmax", "xlogy",
    )
)  # fmt: skip
expit, gammaln, psi, multigammaln = (registry.functions[name] for name in ("sigmoid", "lgamma", "digamma", "mvlgamma"))
globals().update({name: examplewise(function) for name, function in untracked.items()})

__all__ = [
    "entr", "erfcx", "gammainc", "gammaincc", "i0e", "i1", "i1e", "log_ndtr", "multigammaln", "ndtr", "ndtri", "polygamma",
    "xlog1py", "zeta", *untracked,
]  # fmt: skip
