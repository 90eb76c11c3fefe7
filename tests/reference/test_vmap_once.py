"""Under vmap a function runs once, whatever it calls; which operators go example by example is written down here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import reference_engine as torch
from reference_engine.batching.rules import counts

F, L = torch.nn.functional, torch.linalg
vmap, grad = torch.func.vmap, torch.func.grad


def matrices() -> Any:
    """Four positive-definite matrices, 3 by 3."""
    a = np.random.default_rng(0).standard_normal((4, 3, 3))
    return torch.tensor(a @ a.transpose(0, 2, 1) + 3 * np.eye(3))


SHARED = matrices()[0] + 1
IMAGE = torch.ones(2, 1, 2, 2, dtype=torch.float64)

# Functions of one matrix that are one operator for all examples.
BATCHED: dict[str, Callable] = {
    **{name: getattr(L, name) for name in (
        "cholesky", "cholesky_ex", "qr", "eigh", "eigvalsh", "eig", "eigvals", "svd", "svdvals", "inv", "inv_ex", "det",
        "slogdet", "lu", "lu_factor", "lu_factor_ex", "ldl_factor", "pinv", "matrix_exp", "matrix_rank", "cond", "matrix_norm",
        "vector_norm",
    )},
    "solve": lambda a: L.solve(a, a[:, :2]), "solve a vector": lambda a: L.solve(a, a[0]),
    "solve a shared system": lambda a: L.solve(SHARED, a), "solve for shared sides": lambda a: L.solve(a, SHARED[0]),
    "solve from the right": lambda a: L.solve(a, SHARED, left=False), "lstsq": lambda a: L.lstsq(a, a[:, :1]).solution,
    "solve_triangular": lambda a: L.solve_triangular(a.tril(), a, upper=False),
    "lu_solve": lambda a: L.lu_solve(*L.lu_factor(a), a), "cholesky_solve": lambda a: torch.cholesky_solve(a, L.cholesky(a)),
    "cholesky_inverse": lambda a: torch.cholesky_inverse(L.cholesky(a)),
    "householder_product": lambda a: L.householder_product(a.tril(-1), a[0]), "geqrf": torch.geqrf,
    "matrix_power": lambda a: L.matrix_power(a, -2),
    "tensorinv": lambda a: L.tensorinv(a, ind=1), "tensorsolve": lambda a: L.tensorsolve(a, a[0]), "logdet": torch.logdet,
    "lu_unpack": lambda a: torch.lu_unpack(*L.lu_factor(a)), "cross": lambda a: L.cross(a, SHARED), "trace": torch.trace,
    "einsum": lambda a: torch.einsum("ij,jk,kl->il", a, SHARED, a), "einsum traces": lambda a: torch.einsum("ii", a),
    "baddbmm": lambda a: torch.baddbmm(a[None], a[None], SHARED[None], beta=2, alpha=3),
    "addmv": lambda a: torch.addmv(a[0], SHARED, a[1], beta=2, alpha=3), "complex": lambda a: torch.complex(a, SHARED),
    "pad": lambda a: F.pad(a, (1, 2)), "layer_norm": lambda a: F.layer_norm(a, (3,), SHARED[0], SHARED[1]),
    "group_norm": lambda a: F.group_norm(a[None], 3), "batch_norm": lambda a: F.batch_norm(a, None, None, training=True),
    "index_select": lambda a: a.index_select(1, torch.tensor([0, 2])), "kthvalue": lambda a: a.kthvalue(2).values,
    "mse_loss": lambda a: F.mse_loss(a, SHARED), "smooth_l1_loss": lambda a: F.smooth_l1_loss(a, SHARED, reduction="sum"),
    "as_strided": lambda a: a.as_strided((2, 2), (3, 1)), "as_strided moved": lambda a: a.as_strided((2,), (2,), 1),
    "conv2d": lambda a: F.conv2d(a[None, None], IMAGE), "masked_fill": lambda a: a.masked_fill(a > 1, 0.0),
}  # fmt: skip
# Those that the engine calls for each example: they read elements, or their kernels know no batch.
LOOPED: dict[str, Callable] = {
    "argmax": lambda a: a.argmax(0), "any": lambda a: (a > 1).any(), "all": lambda a: (a > 0).all(1),
    "indexed": lambda a: a[a.argmax(0)], "scatter": lambda a: a.scatter(0, a.argsort(0), a * 2),
    "index_add": lambda a: a.index_add(0, torch.tensor([0, 1]), a[:2]), "nanmean": lambda a: a.nanmean(),
    "scaled_dot_product_attention": lambda a: F.scaled_dot_product_attention(a[None], a[None], a[None]),
    "binary_cross_entropy": lambda a: F.binary_cross_entropy(a.sigmoid(), (a * 2).sigmoid()),
    "one_hot": lambda a: F.one_hot(a.argmax(1), 3), "searchsorted": lambda a: torch.searchsorted(a.sort(1).values, a[:, :1]),
    "quantile": lambda a: torch.quantile(a, 0.5), "isclose": lambda a: torch.isclose(a, a * 2),
    "bucketize": lambda a: torch.bucketize(a, torch.tensor([0.0, 1.0], dtype=torch.float64)),
    "ldl_solve": lambda a: L.ldl_solve(*L.ldl_factor(a), a), "embedding": lambda a: F.embedding(torch.tensor([0, 2]), a),
    "renorm": lambda a: torch.renorm(a, 2, 0, 1.0),
}  # fmt: skip


def flat(tree: Any) -> list:
    return [leaf for part in tree for leaf in flat(part)] if isinstance(tree, (tuple, list)) else [tree]


@pytest.mark.parametrize("name", [*BATCHED, *LOOPED])
def test_a_function_runs_once(name: str) -> None:
    """Its results are those of each example; whether an operator loops is as the tables above say."""
    function, calls = {**BATCHED, **LOOPED}[name], []

    def once(a: Any) -> Any:
        calls.append(a)
        return function(a)

    before = counts["looped"]
    found = vmap(once)(matrices())
    assert len(calls) == 1
    assert (counts["looped"] > before) is (name in LOOPED)
    wanted = [
        torch.stack(list(column)) for column in zip(*[flat(function(a.clone())) for a in matrices()], strict=True)
    ]
    for own, expected in zip(flat(found), wanted, strict=True):
        assert own.shape == expected.shape
        np.testing.assert_allclose(own._array, expected._array, rtol=1e-9, atol=1e-12)


# Not those whose results are of no use to gradients, or whose factors turn freely.
SMOOTH = sorted(set(BATCHED) - {
    "cholesky_ex", "qr", "eigh", "eig", "eigvals", "svd", "inv_ex", "slogdet", "lu", "lu_factor", "lu_factor_ex", "ldl_factor",
    "matrix_rank", "cond", "geqrf", "lu_unpack", "complex", "lstsq", "index_select", "kthvalue", "masked_fill",
    "as_strided moved",
})  # fmt: skip


@pytest.mark.parametrize("name", SMOOTH)
def test_gradients_of_what_is_batched(name: str) -> None:
    """vmap of grad and grad of vmap are the gradients of each example, and so are two vmaps."""

    def loss(a: Any) -> Any:
        return sum((x * x).sum() for x in flat(BATCHED[name](a)))

    wanted = torch.stack([grad(loss)(a) for a in matrices()])._array
    np.testing.assert_allclose(vmap(grad(loss))(matrices())._array, wanted, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(grad(lambda a: vmap(loss)(a).sum())(matrices())._array, wanted, rtol=1e-8, atol=1e-10)
    pairs = matrices().reshape(2, 2, 3, 3)
    nested = vmap(vmap(grad(loss)))(pairs).reshape(4, 3, 3)
    np.testing.assert_allclose(nested._array, wanted, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(
    ("name", "args"),
    [("unsqueeze_", (0,)), ("unsqueeze_", (-1,)), ("squeeze_", ()), ("squeeze_", (0,)), ("transpose_", (0, 1)),
     ("swapaxes_", (-1, 0)), ("swapdims_", (0, 1)), ("t_", ()), ("as_strided_", ((2,), (1,)))],
)  # fmt: skip
def test_shapes_change_in_place(name: str, args: tuple) -> None:
    """A batched tensor becomes the view, shares its memory with what it was, and has its history."""

    def change(a: Any) -> Any:
        b = a * 2
        b = b[:1] if name == "squeeze_" else b
        kept, same = b, getattr(b, name)(*args)
        assert kept is same
        b.mul_(3)
        return b * a.sum()

    found = vmap(change)(matrices())
    wanted = torch.stack([change(a) for a in matrices()])
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found._array, wanted._array)
    gradient = vmap(grad(lambda a: change(a).sum()))(matrices())
    np.testing.assert_allclose(
        gradient._array, torch.stack([grad(lambda a: change(a).sum())(a) for a in matrices()])._array
    )


def test_as_strided_stays_within_an_example() -> None:
    """What reaches beyond the example's elements is another example's."""
    x = torch.arange(12.0).reshape(4, 3)
    assert vmap(lambda a: a.as_strided((2,), (2,)))(x).tolist() == [[3.0 * k, 3.0 * k + 2] for k in range(4)]
    assert vmap(lambda a: a.as_strided((2,), (3,)), in_dims=1)(x.t().contiguous()).shape == (4, 2)
    with pytest.raises(RuntimeError, match="inside vmap reaches memory that is not the example's"):
        vmap(lambda a: a.as_strided((2,), (3,)))(x)


def test_examples_are_changed_by_their_own_indices() -> None:
    """Assignment under indices that differ; to what all examples share it is refused."""
    x, index = torch.zeros(2, 3), torch.tensor([[0, 1], [1, 2]])

    def write(a: Any, i: Any) -> Any:
        b = a * 1
        b[i] = 5.0
        return b

    assert vmap(write)(x, index).tolist() == [[5.0, 5.0, 0.0], [0.0, 5.0, 5.0]]
    with pytest.raises(RuntimeError, match="inplace arithmetic"):
        vmap(lambda i: SHARED[0].clone().__setitem__(i, 1.0))(index)
    assert vmap(lambda i: torch.tensor([7.0, 8.0, 9.0])[i])(index).tolist() == [[7.0, 8.0], [8.0, 9.0]]


def test_singular_examples_are_named() -> None:
    """Failures are looked for in all examples, and the first is named by its number."""
    a = matrices()
    a[2] = 0.0
    for function, message in (
        (L.inv, "singular"),
        (L.cholesky, "positive-definite"),
        (lambda m: L.solve(m, m), "singular"),
    ):
        with pytest.raises(L.LinAlgError, match=rf"\(Batch element 2\): .*{message}"):
            vmap(function)(a)


def test_a_batched_tensor_that_is_kept_is_refused() -> None:
    """Whatever reads its elements; not by an error of the engine's own."""
    kept: list = []
    vmap(lambda a: kept.append(a) or a)(matrices())
    for function in (lambda a: a + 1, lambda a: a.float(), lambda a: a.argmax(), lambda a: a.sum(), L.inv):
        with pytest.raises(RuntimeError, match="may have escaped from inside a function being vmapped"):
            function(kept[0])
