"""Faults of what functions of linear algebra return beside the factor: order, info, kind of error, options."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import reference_engine as engine
from reference_engine.nn import functional as F
from reference_engine.tensor import Tensor
from tests.faulty_engines.patching import Patch, fault

L = engine.linalg


def _instead(p: Patch, original: Callable, replacement: Callable) -> None:
    """`replacement(original, ...)` wherever the engine holds `original`."""
    p.function(original, lambda *args, **how: replacement(original, *args, **how))


def _replaced(result: Any, **fields: Any) -> Any:
    """A named tuple of results with other fields."""
    return type(result)(*(fields.get(name, getattr(result, name)) for name in result._fields))


@fault("linear_algebra")
def singular_matrices_raise_plain_errors(p: Patch) -> None:
    """What is singular raises RuntimeError instead of LinAlgError."""

    def form(original: Any, *args: Any, **how: Any) -> Any:
        try:
            return original(*args, **how)
        except L.LinAlgError as error:
            raise RuntimeError(str(error)) from None

    for function in (L.inv, L.solve, L.cholesky):
        _instead(p, function, form)


@fault("linear_algebra")
def checks_of_errors_are_left_out(p: Patch) -> None:
    """inv_ex, solve_ex and cholesky_ex take no notice of check_errors."""
    for function in (L.inv_ex, L.solve_ex, L.cholesky_ex):
        _instead(p, function, lambda original, *args, **how: original(*args, **{**how, "check_errors": False}))


@fault("linear_algebra")
def info_only_says_whether(p: Patch) -> None:
    """info is 1 where a factorization failed, wherever it did."""
    for function in (L.lu_factor_ex, L.cholesky_ex):
        _instead(p, function, lambda original, *args, **how: _replaced(
            found := original(*args, **how), info=(found.info != 0).to(found.info.dtype)))  # fmt: skip


@fault("linear_algebra")
def broken_matrices_are_counted_from_one(p: Patch) -> None:
    """The error of a batch names its broken matrix counted from 1."""

    def form(original: Any, *args: Any, **how: Any) -> Any:
        try:
            return original(*args, **how)
        except L.LinAlgError as error:
            raise L.LinAlgError(str(error).replace("Batch element 1", "Batch element 2")) from None

    _instead(p, L.inv, form)


@fault("linear_algebra")
def broken_matrices_spoil_their_batch(p: Patch) -> None:
    """Where one matrix of a batch is singular inv_ex gives nan for all."""

    def form(original: Any, *args: Any, **how: Any) -> Any:
        found = original(*args, **how)
        return _replaced(found, inverse=found.inverse * np.nan) if bool((found.info != 0).any()) else found

    _instead(p, L.inv_ex, form)


@fault("ops")
def eigenvalues_descend(p: Patch) -> None:
    """eigh and eigvalsh give the largest eigenvalue first."""
    _instead(p, L.eigvalsh, lambda original, *args, **how: original(*args, **how).flip(-1))
    _instead(p, L.eigh, lambda original, *args, **how: _replaced(
        found := original(*args, **how), eigenvalues=found[0].flip(-1), eigenvectors=found[1].flip(-1)))  # fmt: skip


@fault("ops")
def one_triangle_is_the_other(p: Patch) -> None:
    """eigh and eigvalsh read the upper triangle unless told otherwise."""
    for function in (L.eigh, L.eigvalsh):
        _instead(p, function, lambda original, a, UPLO="U": original(a, UPLO))


@fault("linear_algebra")
def powers_of_vander_increase(p: Patch) -> None:
    """torch.vander has increasing powers, as torch.linalg.vander."""
    _instead(p, engine.vander, lambda original, x, N=None, increasing=True: original(x, N, increasing))


@fault("linear_algebra")
def powers_of_linalg_vander_decrease(p: Patch) -> None:
    """torch.linalg.vander has decreasing powers, as torch.vander."""
    _instead(p, L.vander, lambda original, x, *, N=None: original(x, N=N).flip(-1))


@fault("linear_algebra")
def later_matrices_of_groups_are_constants(p: Patch) -> None:
    """grouped_mm gives the first matrix of a stack its gradient, and the others none."""
    _instead(p, F.grouped_mm, lambda original, a, b, *args, **how: original(
        a, engine.cat([b[:1], b[1:].detach()]) if b.requires_grad else b, *args, **how))  # fmt: skip


@fault("linear_algebra")
def einsum_orders_its_output(p: Patch) -> None:
    """einsum gives its output with letters in alphabetical order, whatever is written behind the arrow."""

    def form(original: Any, equation: Any, *operands: Any) -> Any:
        if isinstance(equation, str) and "->" in equation and "." not in equation:
            inputs, _, output = equation.partition("->")
            equation = f"{inputs}->{''.join(sorted(output))}"
        return original(equation, *operands)

    _instead(p, engine.einsum, form)


@fault("linear_algebra")
def residuals_are_norms(p: Patch) -> None:
    """lstsq gives norms of residuals instead of their squares."""
    _instead(p, L.lstsq, lambda original, *args, **how: _replaced(
        found := original(*args, **how), residuals=found.residuals.sqrt()))  # fmt: skip


@fault("ops")
def cholesky_reads_the_upper_triangle(p: Patch) -> None:
    """cholesky factors what is above the diagonal."""

    def form(original: Any, a: Tensor, **how: Any) -> Any:
        return original(a.triu() + a.triu(1).mH if a.dim() == 2 else a, **how)

    for function in (L.cholesky, L.cholesky_ex):
        _instead(p, function, form)
