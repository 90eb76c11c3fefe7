"""Faults of vmap: dimensions that leak or are miscounted, inputs that are mapped or shared by mistake."""

from __future__ import annotations

from typing import Any

from reference_engine.batching.tensor import BatchedTensor, Level, batched, bottom
from reference_engine.func import mapping
from reference_engine.ops import joining
from reference_engine.tensor import Tensor
from reference_engine.utils._pytree import tree_flatten, tree_map
from tests.faulty_engines.patching import Patch, fault


def _vmap(p: Patch, change: Any) -> None:
    """vmap, with change(original, func, in_dims, out_dims, options) in its place."""
    original = mapping.vmap

    def vmap(func: Any, in_dims: Any = 0, out_dims: Any = 0, randomness: str = "error", *,
             chunk_size: int | None = None) -> Any:  # fmt: skip
        options = {"randomness": randomness, "chunk_size": chunk_size}
        return change(original, func, in_dims, out_dims, options)

    p.function(original, vmap)


@fault("vmap")
def elements_of_all_examples_are_counted(p: Patch) -> None:
    """numel() inside counts the elements of the whole batch."""
    p.set(BatchedTensor, "numel", lambda self: self._value.numel())


@fault("vmap")
def the_batch_leaks_into_shapes(p: Patch) -> None:
    """shape inside shows the batch as a first dimension."""
    p.set(BatchedTensor, "shape", property(lambda self: self._value.shape))


@fault("vmap")
def negative_in_dims_count_without_the_last(p: Patch) -> None:
    """A negative in_dims counts the dimensions of one example."""

    def negative(original: Any, func: Any, in_dims: Any, out_dims: Any, options: Any) -> Any:
        moved = tree_map(lambda d: d - 1 if isinstance(d, int) and d < 0 else d, in_dims)

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            ndim = max((x.dim() for x in tree_flatten(args)[0] if isinstance(x, Tensor)), default=0)
            return original(func, moved if ndim > 1 else in_dims, out_dims, **options)(*args, **kwargs)

        return wrapped

    _vmap(p, negative)


@fault("vmap")
def negative_out_dims_count_one_example(p: Patch) -> None:
    """A negative out_dims counts the dimensions of one example: -1 is in front of its last."""

    def result(x: Any, place: int | None, level: Level, name: str) -> Any:
        return original(x, x.dim() + place if place is not None and place < 0 and x.dim() else place, level, name)

    original = mapping._result
    p.function(original, result)


@fault("vmap")
def shared_inputs_are_repeated(p: Patch) -> None:
    """An input with in_dims None is repeated for each example, so that its elements cannot be read."""

    def batched_input(x: Any, dim: int | None, level: Level) -> Any:
        if dim is None and isinstance(x, Tensor) and not isinstance(x, BatchedTensor):
            return batched(x.expand(level.size, *x.shape), level)
        return original(x, dim, level)

    original = mapping._batched_input
    p.function(original, batched_input)


@fault("vmap")
def keyword_arguments_are_mapped(p: Patch) -> None:
    """Keyword arguments are mapped over dimension 0."""

    def mapped(original: Any, func: Any, in_dims: Any, out_dims: Any, options: Any) -> Any:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            names = [n for n, v in kwargs.items() if isinstance(v, Tensor) and v.dim()]
            rest = {n: v for n, v in kwargs.items() if n not in names}
            dims = in_dims if isinstance(in_dims, tuple) else (in_dims,) * len(args)
            both = lambda *given: func(*given[: len(args)], **dict(zip(names, given[len(args) :], strict=True)), **rest)
            return original(both, (*dims, *(0 for _ in names)), out_dims, **options)(*args, *(kwargs[n] for n in names))

        return wrapped

    _vmap(p, mapped)


@fault("vmap")
def chunks_are_joined_in_front(p: Patch) -> None:
    """The results of chunks are joined along dimension 0, whatever out_dims says."""

    def in_chunks(*args: Any) -> Any:
        inner = Patch()
        inner.set(joining, "cat", lambda parts, place=0: cat(parts, 0))
        try:
            return original(*args)
        finally:
            inner.undo()

    cat = joining.cat
    original = mapping._in_chunks
    p.function(original, in_chunks)


@fault("vmap")
def containers_are_handed_through(p: Patch) -> None:
    """A list among the arguments reaches the function as it is, where nothing in it is mapped."""

    def through(original: Any, func: Any, in_dims: Any, out_dims: Any, options: Any) -> Any:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            lists = {
                i: a for i, a in enumerate(args) if isinstance(a, list) and not any(isinstance(x, Tensor) for x in a)
            }
            whole = lambda *given, **k: func(*[lists.get(i, x) for i, x in enumerate(given)], **k)
            return original(whole, in_dims, out_dims, **options)(*args, **kwargs)

        return wrapped

    _vmap(p, through)


@fault("vmap")
def dicts_of_in_dims_go_by_order(p: Patch) -> None:
    """A dict of in_dims is matched with the input's by the order of the keys."""

    def by_order(original: Any, func: Any, in_dims: Any, out_dims: Any, options: Any) -> Any:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            dims = in_dims
            if isinstance(in_dims, tuple):
                dims = tuple(
                    dict(zip(a, d.values(), strict=True))
                    if isinstance(d, dict) and isinstance(a, dict) and len(a) == len(d) else d
                    for a, d in zip(args, in_dims, strict=False)
                ) + in_dims[len(args) :]  # fmt: skip
            return original(func, dims, out_dims, **options)(*args, **kwargs)

        return wrapped

    _vmap(p, by_order)


@fault("vmap")
def batches_of_one_are_broadcast(p: Patch) -> None:
    """A mapped dimension of size 1 goes with any other size."""

    def batch_size(flat: list, dims: list) -> int:
        sizes = [x.shape[d] for x, d in zip(flat, dims, strict=True) if d is not None]
        if len(set(sizes) - {1}) > 1:
            return original(flat, dims)
        for k, (x, d) in enumerate(zip(flat, dims, strict=True)):
            if d is not None and x.shape[d] == 1:
                flat[k] = x.movedim(d, 0).expand(max(sizes), *x.movedim(d, 0).shape[1:]).movedim(0, d)
        return max(sizes)

    original = mapping._batch_size
    p.function(original, batch_size)


@fault("vmap")
def numbers_are_shared(p: Patch) -> None:
    """A number among the inputs is shared whatever in_dims says."""

    def shared(original: Any, func: Any, in_dims: Any, out_dims: Any, options: Any) -> Any:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            dims = tuple(None if isinstance(a, (int, float)) else in_dims for a in args) if in_dims == 0 else in_dims
            return original(func, dims, out_dims, **options)(*args, **kwargs)

        return wrapped

    _vmap(p, shared)


@fault("vmap")
def out_dims_none_takes_the_first_example(p: Patch) -> None:
    """With out_dims None an output that differs between examples is the first one's."""

    def result(x: Any, place: int | None, level: Level, name: str) -> Any:
        if place is None and isinstance(x, BatchedTensor) and x._level is level:
            return x._value.select(0, 0)
        return original(x, place, level, name)

    original = mapping._result
    p.function(original, result)


@fault("vmap")
def missing_out_dims_are_filled_up(p: Patch) -> None:
    """A tuple of out_dims that is too short goes on with its last entry."""

    def out_dims(given: Any, form: Any, name: str) -> list:
        if isinstance(given, tuple) and form.type is tuple and 0 < len(given) < len(form.children):
            given = given + given[-1:] * (len(form.children) - len(given))
        return original(given, form, name)

    original = mapping._out_dims
    p.function(original, out_dims)


@fault("vmap")
def numbers_returned_are_repeated(p: Patch) -> None:
    """A function may return numbers, which become tensors."""

    def result(x: Any, place: int | None, level: Level, name: str) -> Any:
        from reference_engine import tensor as make

        return original(make(x) if isinstance(x, float) and place is not None else x, place, level, name)

    original = mapping._result
    p.function(original, result)


@fault("vmap")
def masks_choose_from_the_batch(p: Patch) -> None:
    """A mask that differs between examples chooses from the whole batch, as one that all share."""

    def getitem(self: BatchedTensor, key: Any) -> Any:
        if isinstance(key, BatchedTensor) and key._level is self._level:
            return bottom(self)[bottom(key)]
        return original(self, key)

    original = BatchedTensor.__getitem__
    p.set(BatchedTensor, "__getitem__", getitem)


@fault("vmap")
def the_last_dimension_is_mapped_by_default(p: Patch) -> None:
    """Where in_dims says nothing the last dimension is mapped."""
    original = mapping.vmap

    def vmap(func: Any, in_dims: Any = -1, out_dims: Any = 0, randomness: str = "error", *,
             chunk_size: int | None = None) -> Any:  # fmt: skip
        return original(func, in_dims, out_dims, randomness, chunk_size=chunk_size)

    p.function(original, vmap)


@fault("vmap")
def the_first_of_nested_in_dims_holds(p: Patch) -> None:
    """Of a dict of in_dims the first entry holds for all."""

    def broadcast(dims: Any, form: Any) -> Any:
        return original(next(iter(dims.values())) if isinstance(dims, dict) and dims else dims, form)

    original = mapping._broadcast
    p.function(original, broadcast)


@fault("vmap")
def chunks_of_no_example_are_the_whole(p: Patch) -> None:
    """A chunk_size of 0 stands for None."""
    _vmap(p, lambda original, func, in_dims, out_dims, options: original(
        func, in_dims, out_dims, **{**options, "chunk_size": options["chunk_size"] or None}))  # fmt: skip
