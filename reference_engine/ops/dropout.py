"""Dropout: a product with a random mask, which is a constant, so that its rule is mul's. Source: torch.nn.functional.dropout."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from reference_engine import dtypes
from reference_engine.ops import registry
from reference_engine.ops.inplace import in_place
from reference_engine.ops.kinds import general
from reference_engine.random import numpy_generator
from reference_engine.tensor import Tensor, wrap


def _check(p: float) -> None:
    if p < 0.0 or p > 1.0:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")


def _kept(input: Tensor, p: float, *, features: bool) -> np.ndarray:
    """What is kept: element by element, or whole channels of (N, C, *)."""
    if input._array.dtype.kind not in "fc":
        raise RuntimeError(
            f"result type Float can't be cast to the desired output type {dtypes.type_name(input.dtype)}"
        )
    shape = input._array.shape
    if features:
        if len(shape) < 2:
            raise RuntimeError("Feature dropout requires at least 2 dimensions in the input")
        shape = (*shape[:2], *(1,) * (len(shape) - 2))
    return numpy_generator().random(shape) >= p


def _dropped(input: Tensor, p: float, *, features: bool = False) -> Tensor:
    """input times a mask, scaled so that the mean stays; where nothing is kept nothing is drawn."""
    if p == 1:
        return input * 0.0  # type: ignore[operator]
    mask = _kept(input, p, features=features).astype(input._array.dtype) / (1 - p)
    return input * wrap(mask)  # type: ignore[operator]


SELU_FLOOR = -1.7580993408473766  # what selu tends to at minus infinity


def _dropped_to_floor(input: Tensor, p: float, *, features: bool = False) -> Tensor:
    """Dropout to selu's lower bound, then the affine map that gives mean 0 and variance 1 back."""
    if p == 1:
        return input * 0.0  # type: ignore[operator]
    keep = _kept(input, p, features=features).astype(input._array.dtype)
    scale = ((1 - p) * (1 + p * SELU_FLOOR**2)) ** -0.5
    offset = (1 - keep) * (SELU_FLOOR * scale) - scale * p * SELU_FLOOR
    return input * wrap(keep * input._array.dtype.type(scale)) + wrap(offset.astype(keep.dtype))  # type: ignore[operator]


def _form(name: str, drop: Callable, training: bool, what: str) -> Callable:
    """torch.nn.functional's form of a dropout, changing its input where asked to."""
    drop_ = in_place(drop, f"{name}_")

    def call(input: Tensor, p: float = 0.5, training: bool = training, inplace: bool = False) -> Tensor:
        _check(p)
        if not training or p == 0 or not input._array.size:
            return input
        return drop_(input, p) if inplace else drop(input, p)

    call.__name__ = call.__qualname__ = name
    call.__doc__ = f"{what}. Source: torch.nn.functional.{name}."
    return call


def _features(input: Tensor, p: float) -> Tensor:
    return _dropped(input, p, features=True)


dropout = _form("dropout", _dropped, True, "Each element 0 with probability p, the others divided by 1 - p")
alpha_dropout = _form(
    "alpha_dropout", _dropped_to_floor, False, "Dropout to selu's lower bound; mean 0, variance 1 stay"
)
feature_alpha_dropout = _form("feature_alpha_dropout", lambda input, p: _dropped_to_floor(input, p, features=True), False,
                              "alpha_dropout of whole channels")  # fmt: skip
feature_dropout = _form("feature_dropout", _features, True, "Whole channels of (N, C, *) dropped")


def dropout1d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Whole channels of (N, C, L) or (C, L) dropped. Source: torch.nn.functional.dropout1d."""
    _check(p)
    ndim = input._array.ndim
    if ndim not in (2, 3):
        raise RuntimeError(f"dropout1d: Expected 2D or 3D input, but received a {ndim}D input. Note that dropout1d exists to "
                           "provide channel-wise dropout on inputs with 1 spatial dimension, a channel dimension, and an "
                           "optional batch dimension (i.e. 2D or 3D inputs).")  # fmt: skip
    return _of_one(input, p, training, inplace) if ndim == 2 else feature_dropout(input, p, training, inplace)


def _of_one(input: Tensor, p: float, training: bool, inplace: bool) -> Tensor:
    """A sample without batch dimension, as a batch of one."""
    batch = input.unsqueeze(0)  # type: ignore[attr-defined]
    return feature_dropout(batch, p, training, inplace).squeeze(0)  # type: ignore[attr-defined]


AS_ROWS = ("dropout2d: Received a 3D input to dropout2d and assuming that channel-wise 1D dropout behavior is desired - input "
           "is interpreted as shape (N, C, L), where C is the channel dim. This behavior will change in a future release to "
           "interpret the input as one without a batch dimension, i.e. shape (C, H, W). To maintain the 1D channel-wise dropout "
           "behavior, please switch to using dropout1d instead.")  # fmt: skip


def _unusual(name: str, n: int, ndim: int) -> None:
    warnings.warn(f"{name}: Received a {ndim}-D input to {name}, which is deprecated and will result in an error in a future "
                  "release. To retain the behavior and silence this warning, please use dropout instead. Note that "
                  f"{name} exists to provide channel-wise dropout on inputs with {n} spatial dimensions, a channel dimension, "
                  f"and an optional batch dimension (i.e. {n + 1}D or {n + 2}D inputs).", UserWarning, stacklevel=3)  # fmt: skip


def dropout2d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Whole channels of (N, C, H, W) dropped. Source: torch.nn.functional.dropout2d."""
    _check(p)
    ndim = input._array.ndim
    if ndim not in (3, 4):
        _unusual("dropout2d", 2, ndim)
    elif ndim == 3:
        warnings.warn(AS_ROWS, UserWarning, stacklevel=2)
    return feature_dropout(input, p, training, inplace)


def dropout3d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Whole channels of (N, C, D, H, W) or (C, D, H, W) dropped. Source: torch.nn.functional.dropout3d."""
    _check(p)
    ndim = input._array.ndim
    if ndim not in (4, 5):
        _unusual("dropout3d", 3, ndim)
    return _of_one(input, p, training, inplace) if ndim == 4 else feature_dropout(input, p, training, inplace)


# --- torch's own functions -------------------------------------------------------------------------------------------


def _publish(name: str, form: Callable) -> None:
    def call(input: Tensor, p: float, train: bool) -> Tensor:
        if not 0 <= p <= 1:
            raise RuntimeError(f"dropout probability has to be between 0 and 1, but got {p}")
        return form(input, p, train)

    registry.publish(name, call, method=False)
    registry.publish(f"{name}_", lambda input, p, train: form(input, p, train, True), method=False)


for _name, _function in {"dropout": dropout, "alpha_dropout": alpha_dropout, "feature_dropout": feature_dropout,
                         "feature_alpha_dropout": feature_alpha_dropout}.items():  # fmt: skip
    _publish(_name, _function)


def native_dropout_backward(grad_output: Any, mask: Any, scale: float) -> Any:
    """g times the mask times 1 / (1 - p), over arrays and tensors. Source: torch.ops.aten.native_dropout_backward."""
    if isinstance(grad_output, Tensor) and not isinstance(mask, Tensor):
        mask = wrap(mask)
    return grad_output * mask * scale


_native = general("native_dropout", lambda x, *, mask, scale: (x * mask * x.dtype.type(scale), mask),
                  lambda gs, mask, scale: native_dropout_backward(gs[0], mask, scale), outputs=("result0", "result1"),
                  nondifferentiable=("result1",), node="NativeDropoutBackward0", saved_names=("input",))  # fmt: skip


@registry.function
def native_dropout(input: Tensor, p: float, train: bool | None) -> tuple[Tensor, Tensor]:
    """Dropout and the mask of what was kept. Source: torch.native_dropout."""
    drops = train is None or train
    keep = _kept(input, p, features=False) if drops else np.ones(input._array.shape, bool)
    return _native(input, mask=keep, scale=(1 / (1 - p) if p < 1 else 0.0) if drops else 1.0)


registry.publish("native_dropout_backward", native_dropout_backward, method=False)
