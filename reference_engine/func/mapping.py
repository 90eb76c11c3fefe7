"""vmap: a function of one example as a function of a batch. Source: torch.func.vmap.

The function runs once, on batched tensors (batching/). Where that would need elements that differ from example to
example, it runs example by example.
"""

from __future__ import annotations

import functools
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from reference_engine.batching.rules import counts
from reference_engine.batching.tensor import BatchedTensor, Level, NeedsLoop, batched
from reference_engine.state import process, state
from reference_engine.tensor import Tensor
from reference_engine.utils._pytree import LEAF, TreeSpec, tree_flatten, tree_unflatten

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RANDOMNESS = ("error", "different", "same")


def vmap(func: Callable, in_dims: Any = 0, out_dims: Any = 0, randomness: str = "error", *,
         chunk_size: int | None = None) -> Callable:  # fmt: skip
    """The function that maps `func` over a dimension of its inputs and stacks the results.

    in_dims: the dimension of each input (an int for all, or nested as the inputs; None: not mapped). out_dims: where the
    results' new dimension goes. randomness: what random operators do: "error", "different" or "same" for each example.
    chunk_size: how many examples at a time. Source: torch.func.vmap.
    """
    if randomness not in RANDOMNESS:
        raise RuntimeError(f"Only allowed values for randomness are 'error', 'different', or 'same'. Got {randomness}")
    if chunk_size is not None and chunk_size <= 0:
        raise ValueError(f"vmap: chunk_size should be None or greater than 0. (got {chunk_size})")
    name = getattr(func, "__name__", repr(func))

    @functools.wraps(func)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        flat, dims, form = _mapped_inputs(name, args, in_dims)
        size = _batch_size(flat, dims)
        if chunk_size == 1:  # documented as the for-loop: no example is batched
            return _looped(func, flat, dims, form, kwargs, size, randomness, out_dims)
        if chunk_size is None or chunk_size >= size:
            return _one(func, name, flat, dims, form, kwargs, size, randomness, out_dims)
        return _in_chunks(func, name, flat, dims, form, kwargs, size, randomness, out_dims, chunk_size)

    return wrapped


def _one(func: Callable, name: str, flat: list, dims: list, form: TreeSpec, kwargs: dict, size: int, randomness: str,
         out_dims: Any) -> Any:  # fmt: skip
    """One run on batched tensors, or where that cannot be, a run per example."""
    generator = process.generator.get_state()
    level = Level(size, randomness)
    written: list[tuple[Any, Any]] = []
    try:
        with inside(level), remembering(written):
            inputs = [_batched_input(x, d, level) for x, d in zip(flat, dims, strict=True)]
            output = func(*tree_unflatten(inputs, form), **kwargs)
            return _unbatched(output, out_dims, level, name)
    except NeedsLoop:
        process.generator.set_state(generator)
        for array, old in reversed(written):
            array[...] = old
    counts["looped"] += 1
    return _looped(func, flat, dims, form, kwargs, size, randomness, out_dims)


@contextmanager
def inside(level: Level) -> Iterator[None]:
    """While `level` is the innermost of the vmaps around."""
    before = state.vmap_levels
    state.vmap_levels = (*before, level)
    level.number = state.depth = state.depth + 1
    state.refresh()
    try:
        yield
    finally:
        state.vmap_levels = before
        state.depth -= 1
        state.refresh()


@contextmanager
def remembering(written: list[tuple[Any, Any]]) -> Iterator[None]:
    """Keeps (memory, its elements) of what is about to be changed in place, so that the run can be taken back."""
    told = state.before_write

    def remember(tensor: Tensor) -> None:
        if told is not None:
            told(tensor)
        written.append((tensor._array, tensor._array.copy()))

    state.before_write = remember
    try:
        yield
    finally:
        state.before_write = told


def _looped(func: Callable, flat: list, dims: list, form: TreeSpec, kwargs: dict, size: int, randomness: str,
            out_dims: Any) -> Any:  # fmt: skip
    """A run per example; results stacked."""
    from reference_engine.ops.joining import stack

    start = process.generator.get_state()
    rows, output_form, name = [], LEAF, getattr(func, "__name__", repr(func))
    for k in range(size):
        if randomness == "same":
            process.generator.set_state(start)
        own = [x if d is None else x.select(d, k) for x, d in zip(flat, dims, strict=True)]
        with inside(Level(1, randomness, looped=True)):
            leaves, output_form = tree_flatten(func(*tree_unflatten(own, form), **kwargs))
        rows.append(leaves)
    places = _out_dims(out_dims, output_form, name)
    for value, place in zip(rows[0] if rows else (), places, strict=False):
        if place is not None:
            _check_tensor(value, name)
    columns = [column[0] if place is None else stack(list(column)).movedim(0, place)
               for column, place in zip(zip(*rows, strict=True), places, strict=True)]  # fmt: skip
    return tree_unflatten(columns, output_form)


def _in_chunks(func: Callable, name: str, flat: list, dims: list, form: TreeSpec, kwargs: dict, size: int, randomness: str,
               out_dims: Any, chunk: int) -> Any:  # fmt: skip
    from reference_engine.ops.joining import cat

    start = process.generator.get_state()
    parts, output_form = [], LEAF
    for begin in range(0, size, chunk):
        if randomness == "same":
            process.generator.set_state(start)
        count = min(chunk, size - begin)
        own = [x if d is None else x.narrow(d, begin, count) for x, d in zip(flat, dims, strict=True)]
        leaves, output_form = tree_flatten(_one(func, name, own, dims, form, kwargs, count, randomness, out_dims))
        parts.append(leaves)
    places = _out_dims(out_dims, output_form, name)
    columns = [column[0] if place is None else cat(list(column), place)
               for column, place in zip(zip(*parts, strict=True), places, strict=True)]  # fmt: skip
    return tree_unflatten(columns, output_form)


def _batched_input(x: Any, dim: int | None, level: Level) -> Any:
    if dim is None:
        return x
    result = batched(x.movedim(dim, 0) if dim else x, level)
    result._source = (x, dim)  # as a custom function's vmap staticmethod is given it
    return result


def _unbatched(output: Any, out_dims: Any, level: Level, name: str) -> Any:
    """Results with their batch where out_dims says."""
    leaves, form = tree_flatten(output)
    places = _out_dims(out_dims, form, name)
    return tree_unflatten([_result(x, place, level, name) for x, place in zip(leaves, places, strict=True)], form)


def _result(x: Any, place: int | None, level: Level, name: str) -> Any:
    if place is None:
        if isinstance(x, BatchedTensor) and x._level is level:
            raise ValueError(f"vmap({name}, ...): `{name}` can not return a BatchedTensor when out_dim is None")
        return x
    _check_tensor(x, name)
    value = x._value if isinstance(x, BatchedTensor) and x._level is level else x.expand(level.size, *x.shape)
    return value.movedim(0, place) if place else value


def _check_tensor(x: Any, name: str) -> None:
    if not isinstance(x, Tensor):
        raise ValueError(f"vmap({name}, ...): `{name}` must only return Tensors, got type {type(x)}. Did you mean to set "
                         "out_dims= to None for output?")  # fmt: skip


def _out_dims(out_dims: Any, form: TreeSpec, name: str) -> list:
    """One place per result."""
    if not all(place is None or isinstance(place, int) for place in tree_flatten(out_dims)[0]):
        raise ValueError(f"vmap({name}, ..., out_dims={out_dims}): `out_dims` must be an int, None or a python collection of "
                         "ints representing where in the outputs the vmapped dimension should appear.")  # fmt: skip
    found = _broadcast(out_dims, form)
    if found is None:
        raise ValueError(f"vmap({name}, ..., out_dims={out_dims})(<inputs>): out_dims is not compatible with the structure of "
                         f"`outputs`. out_dims has structure {tree_flatten(out_dims)[1]} but outputs has structure "
                         f"{form}.")  # fmt: skip
    return found


def _broadcast(dims: Any, form: TreeSpec) -> list | None:
    """`dims`, whose leaves may stand for whole subtrees, spread over the leaves of a tree; None where they do not fit."""
    _, node = tree_flatten(dims)
    if node.type is None:
        return [dims] * form.num_leaves
    if form.type is None and isinstance(dims, tuple) and len(dims) == 1:
        return _broadcast(dims[0], form)
    if node.type is not form.type or len(node.children) != len(form.children):
        return None
    if isinstance(dims, dict) and dims.keys() != set(form.context):
        return None
    children = [dims[key] for key in form.context] if isinstance(dims, dict) else list(dims)
    parts = [_broadcast(child, part) for child, part in zip(children, form.children, strict=True)]
    return None if any(part is None for part in parts) else [d for part in parts for d in part]  # type: ignore[union-attr]


def _mapped_inputs(name: str, args: tuple, in_dims: Any) -> tuple[list, list, TreeSpec]:
    """(leaves of the inputs, the dimension mapped of each, the inputs' form), checked."""
    said = f"vmap({name}, in_dims={in_dims}, ...)(<inputs>)"
    if not isinstance(in_dims, (int, tuple)):
        raise ValueError(f"{said}: expected `in_dims` to be int or a (potentially nested) tuple matching the structure of "
                         f"inputs, got: {type(in_dims)}.")  # fmt: skip
    if not args:
        raise ValueError(f"vmap({name})(<inputs>): got no inputs. Maybe you forgot to add inputs, or you are trying to vmap "
                         "over a function with no inputs. The latter is unsupported.")  # fmt: skip
    flat, form = tree_flatten(args)
    dims = _broadcast(in_dims, form)
    if dims is None:
        raise ValueError(f"{said}: in_dims is not compatible with the structure of `inputs`. in_dims has structure "
                         f"{tree_flatten(in_dims)[1]} but inputs has structure {form}.")  # fmt: skip
    for i, (x, dim) in enumerate(zip(flat, dims, strict=True)):
        if dim is not None and not isinstance(dim, int):
            raise ValueError(
                f"{said}: Got in_dim={dim} for an input but in_dim must be either an integer dimension or None."
            )
        if dim is None:
            continue
        if not isinstance(x, Tensor):
            raise ValueError(f"{said}: Got in_dim={dim} for an input but the input is of type {type(x)}. We cannot vmap over "
                             "non-Tensor arguments, please use None as the respective in_dim")  # fmt: skip
        if not -x.dim() <= dim < x.dim():
            raise ValueError(f"{said}: Got in_dim={dim} for some input, but that input is a Tensor of dimensionality {x.dim()} "
                             f"so expected in_dim to satisfy -{x.dim()} <= in_dim < {x.dim()}.")  # fmt: skip
        dims[i] = dim % x.dim()
    if all(dim is None for dim in dims):
        raise ValueError(f"{said}: Expected at least one Tensor to vmap over")
    return flat, dims, form


def _batch_size(flat: list, dims: list) -> int:
    sizes = [x.shape[d] for x, d in zip(flat, dims, strict=True) if d is not None]
    if len(set(sizes)) > 1:
        raise ValueError(f"vmap: Expected all tensors to have the same size in the mapped dimension, got sizes {sizes} for "
                         "the mapped dimension")  # fmt: skip
    return sizes[0]
