"""What a node shows of the arguments of its operator: torch's names, the values that it was called with."""

from __future__ import annotations

from typing import Any

import pytest

import reference_engine as torch

X = torch.tensor([[1.0, 4.0], [3.0, 2.0]], requires_grad=True)
V = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
I = torch.tensor([0, 1])  # noqa: E741

# fmt: off
CASES: list[tuple[str, Any, dict[str, Any]]] = [
    ("sum", lambda: X.sum(), {"self_sym_sizes": (2, 2)}),
    ("sum over", lambda: X.sum(0, keepdim=True), {"dim": (0,), "keepdim": True, "self_sym_sizes": (2, 2)}),
    ("mean", lambda: X.mean(), {"self_sym_numel": 4, "self_sym_sizes": (2, 2)}),
    ("var", lambda: X.var(1, correction=0), {"dim": (1,), "correction": 0, "keepdim": False}),
    ("max over", lambda: X.max(1).values, {"dim": 1, "keepdim": False, "indices": [1, 0], "self_sym_sizes": (2, 2)}),
    ("sort", lambda: X.sort(1).values, {"dim": 1, "indices": [[0, 1], [1, 0]]}),
    ("cummax", lambda: X.cummax(0).values, {"dim": 0, "indices": [[0, 0], [1, 0]]}),
    ("view", lambda: X.view(4), {"self_sym_sizes": (2, 2)}),
    ("expand", lambda: V.expand(2, 3), {"self_sym_sizes": (3,)}),
    ("select", lambda: X[1], {"dim": 0, "index": 1, "self_sym_sizes": (2, 2)}),
    ("slice", lambda: V[1:], {"dim": 0, "start": 1, "end": 2**63 - 1, "step": 1, "self_sym_sizes": (3,)}),
    ("index", lambda: X[:, I], {"self_sym_sizes": (2, 2)}),
    ("index_select", lambda: X.index_select(1, I), {"dim": 1, "index": [0, 1], "self_sym_sizes": (2, 2)}),
    ("split", lambda: V.split(2)[0], {"dim": 0, "split_size": 2, "self_sym_sizes": (3,)}),
    ("as_strided", lambda: X.as_strided((1,), (1,), 1), {"storage_offset": 1, "size": (1,), "stride": (1,)}),
    ("masked_fill", lambda: V.masked_fill(V > 1, 0.0), {"mask": [False, True, True]}),
    ("where", lambda: torch.where(V > 1, V, V * 2), {"condition": [False, True, True]}),
    ("clamp", lambda: V.clamp(1, 2), {"min": 1, "max": 2}),
    ("add", lambda: V + V, {"alpha": 1}),
    ("unfold", lambda: V.unfold(0, 2, 1), {"dimension": 0, "size": 2, "step": 1}),
    ("mse", lambda: torch.nn.functional.mse_loss(V, V.detach()), {"reduction": 1}),
    ("conv", lambda: torch.nn.functional.conv1d(X[None], torch.ones(1, 2, 1), padding=1), {
        "stride": (1,), "padding": (1,), "groups": 1}),
]
# fmt: on


@pytest.mark.parametrize(("call", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_arguments_are_shown(call: Any, expected: dict[str, Any]) -> None:
    """Each under its name; `dir` has it too."""
    node = call().grad_fn
    for name, value in expected.items():
        found = getattr(node, f"_saved_{name}")
        assert (found.tolist() if isinstance(found, torch.Tensor) else found) == value, name
        assert f"_saved_{name}" in dir(node)


def test_what_is_no_argument_is_not_shown() -> None:
    """Parameters that only this engine's rules know of."""
    assert not hasattr(X.sum().grad_fn, "_saved_dims")
    assert not hasattr(X[:, I].grad_fn, "_saved_key")


def test_indices_go_with_the_rest_of_what_was_saved() -> None:
    """Read after backward, indices of a freed graph raise; those along which everything is taken are None."""
    y = X[:, I]
    none, index = y.grad_fn._saved_indices
    assert none is None
    assert index.tolist() == [0, 1]
    y.sum().backward()
    with pytest.raises(RuntimeError, match="after they have already been freed"):
        _ = y.grad_fn._saved_indices
    assert y.grad_fn._saved_self_sym_sizes == (2, 2)
