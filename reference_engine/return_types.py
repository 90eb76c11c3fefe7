"""Named tuples that functions return, one class for each, named after the function. Source: torch.return_types."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

PICKED = ("values", "indices")
# fmt: off
FIELDS = {
    "max": PICKED, "min": PICKED, "median": PICKED, "nanmedian": PICKED, "mode": PICKED, "kthvalue": PICKED, "sort": PICKED,
    "topk": PICKED, "cummax": PICKED, "cummin": PICKED, "aminmax": ("min", "max"), "frexp": ("mantissa", "exponent"),
    "histogram": ("hist", "bin_edges"), "linalg_inv_ex": ("inverse", "info"), "linalg_solve_ex": ("result", "info"),
    "linalg_slogdet": ("sign", "logabsdet"), "linalg_cholesky_ex": ("L", "info"), "linalg_lu": ("P", "L", "U"),
    "linalg_lu_factor": ("LU", "pivots"), "linalg_lu_factor_ex": ("LU", "pivots", "info"), "linalg_ldl_factor": ("LD", "pivots"),
    "linalg_ldl_factor_ex": ("LD", "pivots", "info"), "lu_unpack": ("P", "L", "U"), "linalg_qr": ("Q", "R"),
    "geqrf": ("a", "tau"), "linalg_eig": ("eigenvalues", "eigenvectors"), "linalg_eigh": ("eigenvalues", "eigenvectors"),
    "linalg_svd": ("U", "S", "Vh"), "svd": ("U", "S", "V"), "triangular_solve": ("solution", "cloned_coefficient"),
    "linalg_lstsq": ("solution", "residuals", "rank", "singular_values"),
}
# fmt: on


def _repr(self: Any) -> str:
    fields = ",\n".join(f"{name}={value!r}" for name, value in zip(self._fields, self, strict=True))
    return f"torch.return_types.{type(self).__name__}(\n{fields})"


def _made(name: str, fields: tuple[str, ...]) -> Any:
    own = {"__slots__": (), "__repr__": _repr, "__module__": __name__, "__doc__": f"What torch.{name} returns."}
    return type(name, (namedtuple(name, fields),), own)


globals().update({name: _made(name, fields) for name, fields in FIELDS.items()})


def __getattr__(name: str) -> Any:
    raise AttributeError(f"module 'torch.return_types' has no attribute '{name}'")
