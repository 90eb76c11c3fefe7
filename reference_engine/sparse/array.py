"""An array of which only some elements are stored. What a sparse tensor holds in place of a NumPy array.

Every layout is kept as coordinates: `indices` has a column for each stored element (or dense row, where there are fewer
index rows than dimensions), `values` the elements. COO may name an element twice, which means the sum ("uncoalesced");
the compressed layouts name it once, sorted by row (CSR, BSR) or by column (CSC, BSC).
Source: torch docs "torch.sparse".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from reference_engine.layouts import layout, sparse_bsc, sparse_bsr, sparse_coo, sparse_csc, sparse_csr

# f(0) = 0: these act on the stored values alone. The linear ones may be told before duplicates are added up.
LINEAR = frozenset({np.negative, np.positive, np.conjugate})
ZERO_KEEPING = frozenset({
    np.absolute, np.arcsin, np.arcsinh, np.arctan, np.arctanh, np.ceil, np.expm1, np.floor, np.log1p, np.rint, np.sign,
    np.sin, np.sinh, np.sqrt, np.square, np.tan, np.tanh, np.trunc,
})  # fmt: skip


TRANSPOSED = {sparse_csr: sparse_csc, sparse_csc: sparse_csr, sparse_bsr: sparse_bsc, sparse_bsc: sparse_bsr}


class SparseArray(np.lib.mixins.NDArrayOperatorsMixin):
    """Coordinates and values. Immutable but for what is written into `values`."""

    strides: tuple[int, ...] = ()

    def __init__(self, indices: np.ndarray, values: np.ndarray, shape: tuple[int, ...], kind: layout = sparse_coo, *,
                 coalesced: bool = False, block: tuple[int, int] = (1, 1)) -> None:  # fmt: skip
        self.indices, self.values, self.shape, self.layout = indices, values, tuple(shape), kind
        self.coalesced, self.block = coalesced or kind is not sparse_coo, block

    @property
    def dtype(self) -> np.dtype:
        return self.values.dtype

    @property
    def itemsize(self) -> int:
        return self.values.dtype.itemsize

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return int(np.prod(self.shape))

    @property
    def stored(self) -> int:
        """How many entries are stored."""
        return self.indices.shape[1]

    def __array__(self, *args: Any, **kwargs: Any) -> np.ndarray:
        raise TypeError("can't convert a sparse tensor to a dense array; use to_dense() first")

    def flat(self) -> np.ndarray:
        """The position of each entry, counted in C order over the indexed dimensions."""
        return np.ravel_multi_index(tuple(self.indices), self.shape[: len(self.indices)]) if len(self.indices) else np.zeros(
            self.stored, np.int64)  # fmt: skip

    def with_values(self, values: np.ndarray) -> SparseArray:
        """The same pattern with other values."""
        return SparseArray(self.indices, values, self.shape, self.layout, coalesced=self.coalesced, block=self.block)

    def astype(self, dtype: Any, **_: Any) -> SparseArray:
        return self.with_values(self.values.astype(dtype))

    def copy(self) -> SparseArray:
        return self.with_values(self.values.copy())

    def todense(self) -> np.ndarray:
        """All elements."""
        result = np.zeros(self.shape, self.dtype)
        np.add.at(result, tuple(self.indices), self.values)
        return result

    def coalesce(self) -> SparseArray:
        """Every index once, in C order."""
        if self.coalesced:
            return self
        positions, inverse = np.unique(self.flat(), return_inverse=True)
        values = np.zeros((len(positions), *self.values.shape[1:]), self.dtype)
        np.add.at(values, inverse.reshape(-1), self.values)
        indices = (
            np.stack(np.unravel_index(positions, self.shape[: len(self.indices)]))
            if len(self.indices)
            else self.indices
        )
        return SparseArray(indices, values, self.shape, coalesced=True)

    def at(self, indices: np.ndarray) -> np.ndarray:
        """The elements (or dense rows) at indices, 0 where nothing is stored."""
        own = self.coalesce()
        order = np.argsort(own.flat(), kind="stable")
        places = own.flat()[order]
        asked = np.ravel_multi_index(tuple(indices), self.shape[: len(indices)])
        found = np.searchsorted(places, asked)
        found[found == len(places)] = 0
        result = np.zeros((len(asked), *own.values.shape[1:]), self.dtype)
        if len(places):
            hit = places[found] == asked
            result[hit] = own.values[order][found[hit]]
        return result

    def swapaxes(self, a: int, b: int) -> SparseArray:
        """Two indexed dimensions exchanged; a compressed layout becomes its transpose's."""
        a, b = a % self.ndim, b % self.ndim
        if max(a, b) >= len(self.indices):
            raise RuntimeError("transpose: a sparse dimension cannot be exchanged with a dense one")
        order = list(range(len(self.indices)))
        order[a], order[b] = b, a
        shape = list(self.shape)
        shape[a], shape[b] = shape[b], shape[a]
        turned = SparseArray(self.indices[order], self.values, tuple(shape))
        kind = TRANSPOSED.get(self.layout, self.layout)
        return turned if kind is sparse_coo else turned.in_layout(kind, block=self.block[::-1])

    @property
    def T(self) -> SparseArray:
        return self.swapaxes(0, 1) if self.ndim == 2 else self

    def in_layout(self, kind: layout, block: tuple[int, int] = (1, 1)) -> SparseArray:
        """The same elements in another layout."""
        own = SparseArray(self.indices, self.values, self.shape, coalesced=self.coalesced and self.layout is sparse_coo)
        own = own.coalesce()
        if kind is sparse_coo:
            return own
        rows, columns = own.indices
        first, second = (columns, rows) if kind in (sparse_csc, sparse_bsc) else (rows, columns)
        height, width = block if kind is sparse_bsr else block[::-1]
        order = np.lexsort((second, first, second // width, first // height))
        return SparseArray(own.indices[:, order], own.values[order], self.shape, kind, block=block)

    # --- arithmetic --------------------------------------------------------------------------------------------

    def __array_ufunc__(self, ufunc: Callable, method: str, *inputs: Any, out: Any = None, **_: Any) -> Any:
        if method != "__call__":
            return NotImplemented
        result = self._computed(ufunc, inputs)
        if result is NotImplemented or out is None:
            return result
        out[0][...] = result.todense() if isinstance(result, SparseArray) else result
        return out[0]

    def _computed(self, ufunc: Callable, inputs: tuple) -> Any:
        if ufunc in LINEAR:
            return self.with_values(ufunc(self.values))
        if ufunc in ZERO_KEEPING:
            own = self.coalesce()
            return own.with_values(ufunc(own.values))
        if ufunc in (np.add, np.subtract):
            return _sum(ufunc, *inputs)
        if ufunc in (np.multiply, np.true_divide):
            return _scaled(ufunc, *inputs)
        if ufunc is np.matmul:
            return product(*inputs)
        return NotImplemented


def _sum(ufunc: Callable, a: Any, b: Any) -> Any:
    if not (isinstance(a, SparseArray) and isinstance(b, SparseArray)):
        return ufunc(*(x.todense() if isinstance(x, SparseArray) else x for x in (a, b)))
    if a.shape != b.shape:
        raise RuntimeError(
            f"add: expected sizes of 'self' and 'other' to match, but {list(a.shape)} != {list(b.shape)}"
        )
    second = b if ufunc is np.add else -b
    joined = SparseArray(
        np.concatenate([a.indices, second.indices], 1), np.concatenate([a.values, second.values]), a.shape
    )
    if a.layout is sparse_coo:
        return joined.coalesce() if a.coalesced and b.coalesced else joined
    return joined.in_layout(a.layout, block=a.block)


def _scaled(ufunc: Callable, a: Any, b: Any) -> Any:
    """A product or quotient: something at the entries of a sparse array."""
    if not isinstance(a, SparseArray):
        return NotImplemented if ufunc is not np.multiply else _scaled(ufunc, b, a)
    if np.ndim(b) == 0 and not isinstance(b, SparseArray):
        return a.with_values(ufunc(a.values, b))
    own = a.coalesce()
    other = b.at(own.indices) if isinstance(b, SparseArray) else np.broadcast_to(b, own.shape)[tuple(own.indices)]
    return own.with_values(ufunc(own.values, other))


def product(a: Any, b: Any) -> Any:
    """The product of two matrices, or of a matrix and a vector; sparse where both are."""
    if isinstance(a, SparseArray) and isinstance(b, SparseArray):
        return _sparse_product(a, b)
    if isinstance(b, SparseArray):
        return product(b.T, np.swapaxes(a, 0, -1) if np.ndim(a) == 2 else a).T
    rows, columns = a.indices
    result = np.zeros((a.shape[0], *np.shape(b)[1:]), np.result_type(a.values, b))
    factors = a.values.reshape(-1, *(1,) * (np.ndim(b) - 1))
    np.add.at(result, rows, factors * b[columns])
    return result


def _sparse_product(a: SparseArray, b: SparseArray) -> SparseArray:
    from scipy import sparse

    left, right = (sparse.csr_matrix((x.values, tuple(x.indices)), shape=x.shape) for x in (a, b))
    found = (left @ right).tocoo()
    indices = np.stack([found.row, found.col]).astype(np.int64)
    return SparseArray(indices, found.data, found.shape).in_layout(a.layout)


def from_dense(x: np.ndarray, kind: layout = sparse_coo, block: tuple[int, int] = (1, 1)) -> SparseArray:
    """The elements that are not 0; of the blocked layouts, all elements of blocks that have one."""
    keep = x != 0
    if block != (1, 1):
        (height, width), (m, n) = block, x.shape
        tiles = keep.reshape(m // height, height, n // width, width).any((1, 3))
        keep = np.repeat(np.repeat(tiles, height, 0), width, 1)
    indices = np.stack(np.nonzero(keep)) if x.ndim else np.zeros((0, int(keep)), np.int64)
    found = SparseArray(indices, np.asarray(x)[keep], x.shape, coalesced=True)
    return found if kind is sparse_coo else found.in_layout(kind, block)
