"""Faults of linear algebra: checks that are missing, infinities that are smoothed over, parts of a gradient that are lost."""

from __future__ import annotations

from typing import Any

import numpy as np

import reference_engine as engine
from reference_engine.ops import einsum
from reference_engine.ops.linalg import (
    checks,
    functions,
    kernels,
    lowrank,
    lu,
    norms,
    orthogonal,
    pseudoinverse,
    solving,
    spectral,
    triangular,
)
from tests.faulty_engines.patching import Patch, fault


def _finite(x: Any) -> Any:
    return np.nan_to_num(x, nan=0.0, posinf=0.0, neginf=0.0)


# --- what is to be refused -------------------------------------------------------------------------------------------


@fault("linear_algebra")
def singular_matrices_are_inverted(p: Patch) -> None:
    """inv returns infinities for a singular matrix instead of an error."""
    p.set(solving, "_invertible", lambda info: None)


@fault("linear_algebra")
def singular_systems_are_solved(p: Patch) -> None:
    """solve returns nan for a singular matrix instead of an error."""
    p.set(solving, "failed", lambda info: None)


@fault("linear_algebra")
def one_info_for_a_batch(p: Patch) -> None:
    """One singular matrix marks all matrices of its batch as singular."""
    original = solving.inv_op.forward

    def forward(x: np.ndarray) -> tuple:
        inverse, info = original(x)
        return inverse, np.full_like(info, info.max(initial=0))

    p.set(solving.inv_op, "forward", forward)


@fault("linear_algebra")
def indefinite_matrices_are_factored(p: Patch) -> None:
    """cholesky returns nan for an indefinite matrix instead of an error."""
    p.set(triangular, "_definite", lambda name, info: None)


@fault("linear_algebra")
def minors_are_counted_from_zero(p: Patch) -> None:
    """cholesky_ex counts leading minors from 0: the first is no failure."""
    original = triangular.cholesky_op.forward

    def forward(x: np.ndarray, *, upper: bool) -> tuple:
        factor, info = original(x, upper=upper)
        return factor, np.maximum(info - 1, 0)

    p.set(triangular.cholesky_op, "forward", forward)


@fault("linear_algebra")
def zero_pivots_are_usable(p: Patch) -> None:
    """lu_factor accepts a singular matrix, as lu_factor_ex does."""
    p.set(lu, "_usable", lambda info: None)


@fault("linear_algebra")
def oblong_matrices_are_square(p: Patch) -> None:
    """What needs a square matrix does not look at its shape."""
    p.function(checks.square, lambda name, x, types=None: x)


@fault("linear_algebra")
def systems_of_any_size(p: Patch) -> None:
    """solve leaves it to the kernel to find that sizes differ."""
    p.function(solving.fit, lambda name, A, B, left: None)


@fault("linear_algebra")
def any_phase_will_do(p: Patch) -> None:
    """A gradient that depends on the phases of complex vectors is returned."""
    p.set(spectral, "_refuse_phase", lambda *arguments: None)


@fault("linear_algebra")
def phases_of_real_matrices_will_do(p: Patch) -> None:
    """eig of a real matrix counts as real: its phases are not checked."""
    original = spectral._refuse_phase
    p.set(spectral, "_refuse_phase", lambda turning, name, *rest: None if name == "linalg_eig_backward" else original(
        turning, name, *rest))  # fmt: skip


@fault("linear_algebra")
def complete_qr_has_gradient_zero(p: Patch) -> None:
    """A complete Q of a tall matrix gets the gradient 0 instead of an error."""
    original = orthogonal._qr_rule

    def rule(gs: tuple, Q: Any, R: Any, mode: str, x_shape: tuple) -> tuple:
        if mode == "complete" and x_shape[-2] > x_shape[-1]:
            return (np.zeros(x_shape, R.dtype),)
        return original(gs, Q, R, mode, x_shape)

    p.joint(orthogonal.qr_op, rule)


@fault("linear_algebra")
def r_alone_has_gradient_zero(p: Patch) -> None:
    """qr with mode r gives the gradient 0 instead of an error."""
    original = orthogonal._qr_rule

    def rule(gs: tuple, Q: Any, R: Any, mode: str, x_shape: tuple) -> tuple:
        return (np.zeros(x_shape, R.dtype),) if mode == "r" else original(gs, Q, R, mode, x_shape)

    p.joint(orthogonal.qr_op, rule)


@fault("linear_algebra")
def lobpcg_differentiates_anything(p: Patch) -> None:
    """lobpcg with a second matrix gives the gradient 0 instead of an error."""
    p.joint(lowrank._with_b, lambda gs, a: (np.zeros_like(a), None))


@fault("linear_algebra")
def equations_are_left_to_numpy(p: Patch) -> None:
    """einsum hands an equation with an output to NumPy as it is."""
    original = einsum._spelled_out
    p.set(
        einsum,
        "_spelled_out",
        lambda equation, operands: equation if "->" in equation else original(equation, operands),
    )


@fault("linear_algebra")
def nothing_has_a_largest_element(p: Patch) -> None:
    """The largest element of nothing is 0."""
    original = norms.vector_norm
    p.function(original, lambda x, ord=2, dim=None, keepdim=False: original(
        x, ord, dim, keepdim) if x.numel() else x.abs().sum(dim, keepdim))  # fmt: skip


@fault("linear_algebra")
def dependent_columns_are_refused(p: Patch) -> None:
    """The backward of qr raises where the columns are dependent."""
    original = orthogonal._qr_rule

    def rule(gs: tuple, Q: Any, R: Any, mode: str, x_shape: tuple) -> tuple:
        if np.abs(np.diagonal(R, 0, -2, -1)).min() < 1e-12:
            raise RuntimeError("the columns are dependent")
        return original(gs, Q, R, mode, x_shape)

    p.joint(orthogonal.qr_op, rule)


# --- what is not finite ----------------------------------------------------------------------------------------------


@fault("linear_algebra")
def equal_values_are_apart(p: Patch) -> None:
    """Equal eigenvalues and singular values count as 1 apart, so that gradients of their vectors are finite."""
    original = spectral._gaps

    def gaps(values: Any) -> Any:
        found = original(values)
        return np.where(found == 0, 1, found)

    p.set(spectral, "_gaps", gaps)


@fault("linear_algebra")
def singular_factors_have_finite_gradients(p: Patch) -> None:
    """The gradient of lu replaces what is not finite by 0."""
    original = lu._rule
    p.joint(lu.lu_op, lambda gs, LU, exchange: (_finite(original(gs, LU, exchange)[0]),))


@fault("linear_algebra")
def null_spaces_are_forgotten(p: Patch) -> None:
    """svd drops what the gradient of the vectors has outside of the space that they span."""
    original = spectral._svd_rule

    def rule(gs: tuple, U: Any, S: Any, Vh: Any, x_shape: tuple) -> tuple:
        inside = U[..., : S.shape[-1]]
        gradient = original(gs, U, np.where(S == 0, 1e-300, S), Vh, x_shape)[0]
        return (_finite(inside @ (inside.conj().swapaxes(-1, -2) @ gradient)),)

    p.joint(spectral.svd_op, rule)


@fault("linear_algebra")
def values_are_differentiated_with_their_vectors(p: Patch) -> None:
    """svdvals divides by the gaps between singular values, as their vectors do."""
    original = spectral._svd_rule
    p.joint(spectral.svd_op, lambda gs, U, S, Vh, x_shape: original(
        (np.zeros_like(U) if gs[0] is None else gs[0], *gs[1:]), U, S, Vh, x_shape))  # fmt: skip


@fault("linear_algebra")
def logdet_of_any_sign(p: Patch) -> None:
    """logdet is log |det| for negative determinants too."""
    original = engine.logdet
    p.function(original, lambda input: engine.linalg.slogdet(input).logabsdet)


# --- parts that are lost ---------------------------------------------------------------------------------------------


@fault("linear_algebra")
def cofactors_of_singular_matrices_are_zero(p: Patch) -> None:
    """The gradient of det is det times the transposed inverse, 0 where det is."""
    p.set(solving, "_cofactors", lambda x: x * 0)


@fault("linear_algebra")
def residuals_are_constant(p: Patch) -> None:
    """The residuals of lstsq are not tracked."""
    original = pseudoinverse._residuals
    p.set(pseudoinverse, "_residuals", lambda A, B, solution: original(A, B, solution).detach())


@fault("linear_algebra")
def ranks_are_counted_by_the_gradient(p: Patch) -> None:
    """lstsq treats its matrix as a constant: the pseudoinverse has no gradient."""
    original = pseudoinverse.pinv
    p.set(pseudoinverse, "pinv", lambda A, rcond=None: original(A.detach(), rcond))


@fault("linear_algebra")
def zero_vectors_stand_for_u_as_leaves(p: Patch) -> None:
    """svd without vectors gives zeros that require grad."""
    original = engine.svd

    def svd(input: Any, some: bool = True, compute_uv: bool = True) -> Any:
        result = original(input, some, compute_uv)
        return result if compute_uv else result._replace(U=result.U.requires_grad_(), V=result.V.requires_grad_())

    p.function(original, svd)


@fault("linear_algebra")
def reflections_lack_their_one(p: Patch) -> None:
    """The vectors of Householder's reflections have 0 on the diagonal instead of 1."""
    p.set(orthogonal, "_vectors", lambda x: orthogonal.tri_lower(x, diagonal=-1))


@fault("linear_algebra")
def powers_are_counted_from_one(p: Patch) -> None:
    """vander starts with x instead of 1."""
    original = functions.vander
    p.function(original, lambda x, N=None: original(x, N) * x.unsqueeze(-1))


@fault("linear_algebra")
def groups_share_the_first_matrix(p: Patch) -> None:
    """grouped_mm multiplies every group by the first matrix."""
    from reference_engine.ops.products import grouped_mm

    p.function(grouped_mm, lambda mat_a, mat_b, offs=None, bias=None: mat_a @ mat_b[0])


@fault("linear_algebra")
def permutations_are_inverted(p: Patch) -> None:
    """lu returns the permutation that brings A into order instead of its inverse."""
    original = kernels.permutation
    p.set(kernels, "permutation", lambda *arguments: original(*arguments).swapaxes(-1, -2))


@fault("linear_algebra")
def lobpcg_reads_one_triangle(p: Patch) -> None:
    """lobpcg completes the lower triangle of its matrix, so that the gradient lies in that triangle."""
    p.set(lowrank, "symmetric", lambda x: x.tril() + x.tril(-1).mT)
