"""Faults of views."""

from __future__ import annotations

from typing import Any

import numpy as np

import reference_engine as engine
from reference_engine.ops import complex as complexes
from reference_engine.ops import diagonals, indexing, positions, splitting, strided
from reference_engine.ops.kinds import Rule
from reference_engine.tape import views
from tests.faulty_engines.patching import Patch, fault


@fault("views")
def slices_are_copies(p: Patch) -> None:
    """Slicing copies, so that writes do not reach the base."""
    p.set(positions.slice_dim, "forward", lambda x, *, dim, part: np.array(x[(slice(None),) * dim + (part,)]))


@fault("views")
def reshape_always_copies(p: Patch) -> None:
    """reshape copies where a view would do."""
    p.wrap(engine.Tensor, "reshape", lambda original: lambda self, *shape: original(self, *shape).clone())


@fault("views")
def contiguous_always_copies(p: Patch) -> None:
    """contiguous copies a tensor that is contiguous already."""
    p.wrap(engine.Tensor, "contiguous", lambda original: lambda self, *a, **k: original(self, *a, **k).clone())


@fault("views")
def views_keep_old_history(p: Patch) -> None:
    """A view taken before its base was changed in place keeps its old history."""
    p.function(views.renew_views, lambda base: None)


@fault("views")
def base_forgets_its_views(p: Patch) -> None:
    """The results of view operations do not know their base."""
    p.function(views.link_views, lambda source, found: None)


@fault("views")
def several_views_may_be_changed(p: Patch) -> None:
    """Views that came from one operator together may be changed in place."""

    def make(original: Any) -> Any:
        def init(self: Any, no_grad: bool, multi_output: bool, in_function: bool = False) -> None:
            original(self, no_grad, False, in_function)

        return init

    p.wrap(views.ViewInfo, "__init__", make)


@fault("views")
def indices_that_repeat_count_once(p: Patch) -> None:
    """The gradient of indexing is written, not added, so that a repeated index counts once."""
    p.set(positions.add_at, "forward", positions._pad)


@fault("views")
def positions_that_repeat_count_once(p: Patch) -> None:
    """The gradient of as_strided is written, not added, so that a shared element counts once."""

    def put(g: Any, *, positions: np.ndarray, shape: tuple) -> np.ndarray:
        flat = np.zeros(int(np.prod(shape)), np.asarray(g).dtype)
        flat[positions.ravel()] = np.broadcast_to(g, positions.shape).ravel()
        return flat.reshape(shape)

    p.set(positions.put_positions, "forward", put)


@fault("views")
def overwritten_entries_keep_their_gradient(p: Patch) -> None:
    """Assignment through indices passes the gradient of overwritten entries on."""
    p.set(indexing.index_put, "rules", (Rule(lambda g: g), indexing.index_put.rules[1]))


@fault("views")
def diagonal_is_transposed_by_spreading(p: Patch) -> None:
    """The gradient of the diagonal goes to whole columns."""

    def spread(g: Any, x_shape: tuple) -> Any:
        return g.expand(x_shape) if isinstance(g, engine.Tensor) else np.resize(g, x_shape)

    p.set(diagonals.diagonal_view, "rules", (Rule(spread),))


@fault("views")
def view_as_dtype_converts(p: Patch) -> None:
    """view(dtype) converts the values instead of reading their bytes."""
    p.set(strided, "reread", lambda array, dtype: array.astype(dtype))


@fault("views")
def unused_pieces_get_ones(p: Patch) -> None:
    """Pieces of unbind that nothing used count as if their gradient were 1."""

    def pieces(gs: tuple, dim: int, x_shape: tuple) -> Any:
        known = next(g for g in gs if g is not None)
        filled = tuple(known * 0 + 1 if g is None else g for g in gs)
        return splitting._pieces(filled, x_shape, [positions._key(dim, i) for i in range(len(gs))])

    p.set(splitting.unbind_dim, "rules", (Rule(pieces),))


@fault("views")
def writes_through_conj_are_not_conjugated(p: Patch) -> None:
    """A value written through a conjugate view arrives as it is."""
    p.set(complexes.ConjTensor, "_write", lambda self, values: self._stored.__setitem__(..., values))
