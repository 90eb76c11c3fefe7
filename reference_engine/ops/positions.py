"""Elements placed and taken by position: what views, indexing and windows are transposes of.

The transpose of taking is adding at the same positions; the transpose of placing without overlap is taking.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from reference_engine.ops.kinds import linear
from reference_engine.tensor import Tensor


def _put(g: np.ndarray, *, positions: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    # A position of -1 is outside: it falls into a cell behind the last, which is dropped.
    flat = np.zeros(int(np.prod(shape)) + 1, np.asarray(g).dtype)
    np.add.at(flat, positions.ravel(), np.broadcast_to(g, positions.shape).ravel())
    return flat[:-1].reshape(shape)


def _take(x: np.ndarray, *, positions: np.ndarray) -> np.ndarray:
    taken = np.asarray(x).reshape(-1)[positions]
    return np.where(positions < 0, taken.dtype.type(0), taken) if positions.size and positions.min() < 0 else taken


def _pad(g: np.ndarray, *, key: Any, shape: tuple[int, ...]) -> np.ndarray:
    result = np.zeros(shape, np.asarray(g).dtype)
    result[key] = g
    return result


def _add_at(g: np.ndarray, *, key: Any, shape: tuple[int, ...]) -> np.ndarray:
    result = np.zeros(shape, np.asarray(g).dtype)
    np.add.at(result, key, g)
    return result


def _key(dim: int, part: Any) -> tuple:
    return (*(slice(None),) * dim, part)


def key_along(dim: int, index: np.ndarray) -> tuple:
    """The key under which x[key] has at each place the element that `index` names along `dim`."""
    grid = open_grid(index.shape)
    if grid:
        grid[dim] = index
    return tuple(grid)


def open_grid(shape: tuple[int, ...]) -> list[np.ndarray]:
    """Per dimension its indices, lined up along that dimension."""
    return [np.arange(n).reshape(-1, *(1,) * (len(shape) - 1 - i)) for i, n in enumerate(shape)]


# fmt: off
#                     value                                                         transpose
take_positions = linear("take_positions", _take,                                    lambda g, positions, x_shape: put_positions(g, positions=positions, shape=x_shape), node="TakeBackward0")
put_positions  = linear("put_positions", _put,                                      lambda g, positions: take_positions(g, positions=positions), inputs=("x",), node="PutBackward0")
place          = linear("place", _pad,                                              lambda g, key: take_key(g, key=key), inputs=("x",), node="SliceBackward0")
take_key       = linear("take_key", lambda x, *, key: x[key],                       lambda g, key, x_shape: place(g, key=key, shape=x_shape), view=True, node="SliceBackward0")
select_dim     = linear("select", lambda x, *, dim, index: x[_key(dim, index)] if x.ndim > 1 else x[index : index + 1].reshape(()),
                                                                                    lambda g, dim, index, x_shape: place(g, key=_key(dim, index), shape=x_shape), view=True)
slice_dim      = linear("slice", lambda x, *, dim, part: x[_key(dim, part)],        lambda g, dim, part, x_shape: place(g, key=_key(dim, part), shape=x_shape), view=True)
index_copy_out = linear("index", lambda x, *, key: np.asarray(x[key]),              lambda g, key, x_shape: add_at(g, key=key, shape=x_shape))
add_at         = linear("index_put_zeros", _add_at,                                 lambda g, key: index_copy_out(g, key=key), inputs=("x",), node="IndexPutBackward0")
# fmt: on


def narrow_to(g: Any, dim: int, start: int, length: int) -> Any:
    """A range along one dimension, over arrays and tensors."""
    part = slice(start, start + length)
    return slice_dim(g, dim=dim, part=part) if isinstance(g, Tensor) else g[_key(dim, part)]


def select_at(g: Any, dim: int, index: int) -> Any:
    """One index along a dimension, over arrays and tensors."""
    return select_dim(g, dim=dim, index=index) if isinstance(g, Tensor) else g[_key(dim, index)]
