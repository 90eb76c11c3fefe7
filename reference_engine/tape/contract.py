"""The layout of gradients.

Law: a new `.grad` has the strides of its leaf where the leaf is dense, else it lies in C order; a `.grad` that is there
keeps its strides while it is added to. Where both disagree, torch warns. `enforce_grad_layout_policy(False)` lets a
gradient become `.grad` with the strides it comes in. Source: torch docs "Default gradient layouts".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from reference_engine.layouts import empty_like, is_dense, order_of, preserved
from reference_engine.state import state, warn_once

if TYPE_CHECKING:
    from reference_engine.tensor import Tensor


def fresh(like: np.ndarray, array: np.ndarray) -> np.ndarray:
    """A new gradient for a leaf with the array `like`: never the array that arrived, which others may hold."""
    if type(like) is not np.ndarray:
        return np.array(array)
    if not state.grad_layouts_enforced and not _given_by_the_user(array):
        return preserved(array)
    result = np.empty(like.shape, array.dtype) if like.flags.c_contiguous else empty_like(like, array.dtype)
    result[...] = array
    return result


def _given_by_the_user(array: np.ndarray) -> bool:
    """Whether this is a gradient that backward was called with, unchanged: it is copied whatever the policy is."""
    seeds = state.backward.seeds if state.backward is not None else ()
    return any(array is seed for seed in seeds)


def obeys(gradient: np.ndarray, like: np.ndarray) -> bool:
    """Whether a gradient has the layout that the contract asks for."""
    if not is_dense(like):
        return bool(gradient.flags.c_contiguous)
    steps = zip(gradient.strides, like.strides, like.shape, strict=True)
    return all(a * like.itemsize == b * gradient.itemsize for a, b, n in steps if n != 1)


def warn_of_mismatch(gradient: np.ndarray, like: np.ndarray) -> None:
    """Warns where a `.grad` that is added to does not have the layout of its leaf."""
    if type(like) is not np.ndarray or type(gradient) is not np.ndarray:
        return
    if not state.grad_layouts_enforced or obeys(gradient, like):
        return
    shown = [f"{what}.sizes() = {list(a.shape)}, strides() = {[s // a.itemsize for s in a.strides]}"
             for what, a in (("grad", gradient), ("param", like))]  # fmt: skip
    warn_once("gradient layout contract", "grad and param do not obey the gradient layout contract. This is not an error, "
              "but may impair performance.\n" + "\n".join(shown), stacklevel=2)  # fmt: skip


def laid_out(gradient: Tensor, like: np.ndarray) -> Tensor:
    """A recorded gradient in the order of an array, as a new tensor or itself."""
    from reference_engine.ops.types import copy_ordered

    if (
        like.ndim < 2
        or not (type(like) is type(gradient._array) is np.ndarray)
        or gradient._array.strides == like.strides
    ):
        return gradient
    order: Any = order_of(like)
    return (
        gradient
        if order == order_of(gradient._array) and is_dense(gradient._array)
        else copy_ordered(gradient, order=order)
    )
