"""Faults of vmap: a batch that shows, dimensions miscounted, random numbers shared or not, errors that do not come."""

from __future__ import annotations

from typing import Any

from reference_engine.batching import examplewise, functions, hooks, rules, tensor
from reference_engine.batching.tensor import BatchedTensor, Level, batched, exposed, is_batched_at
from reference_engine.func import ensembles, mapping
from reference_engine.ops import strided as views
from reference_engine.state import state
from reference_engine.tensor import Tensor
from tests.faulty_engines.patching import Patch, fault


@fault("vmap")
def dimensions_count_the_batch(p: Patch) -> None:
    """An operator along dimension 1 of an example works along dimension 1 of the batch."""
    p.function(rules.shifted, lambda params: dict(params))


@fault("vmap")
def the_batch_is_broadcast(p: Patch) -> None:
    """Operands of unequal dimensions are lined up with the batch as one of them."""

    def aligned(x: Any, level: Level, ndim: int) -> Any:
        return exposed(x, level) if isinstance(x, Tensor) and is_batched_at(x, level) else x

    p.function(rules.aligned, aligned)


@fault("vmap")
def nested_batches_are_swapped(p: Patch) -> None:
    """The batch of an outer vmap is not moved in front of that of the inner one."""

    def faulty(x: Tensor, level: Level) -> Tensor:
        if isinstance(x, BatchedTensor) and x._level is not level and x._level.index > level.index:
            return batched(faulty(x._value, level), x._level)
        return original(x, level)

    original = tensor.exposed
    p.function(original, faulty)


@fault("vmap")
def in_dims_transpose(p: Patch) -> None:
    """The mapped dimension changes places with the first, where the others keep their order."""

    def batched_input(x: Any, dim: int | None, level: Level) -> Any:
        return x if dim is None else batched(x.transpose(0, dim), level)

    p.function(mapping._batched_input, batched_input)


@fault("vmap")
def inner_in_dims_count_the_outer_batch(p: Patch) -> None:
    """in_dims of an inner vmap count the dimension that the outer one maps."""

    def batched_input(x: Any, dim: int | None, level: Level) -> Any:
        return original(x, dim - 1 if dim and isinstance(x, BatchedTensor) else dim, level)

    original = mapping._batched_input
    p.function(original, batched_input)


@fault("vmap")
def out_dims_are_ignored(p: Patch) -> None:
    """Results have the batch in front whatever out_dims says."""
    original = mapping._result
    p.function(original, lambda x, place, level, name: original(x, place and 0, level, name))


@fault("vmap")
def inputs_are_copied(p: Patch) -> None:
    """The function works on copies of mapped inputs, so that changes in place do not reach the caller."""
    original = mapping._batched_input
    p.function(original, lambda x, dim, level: x if dim is None else original(x.clone(), dim, level))


@fault("vmap")
def unmapped_outputs_are_not_repeated(p: Patch) -> None:
    """An output that does not depend on mapped inputs is returned without a batch."""

    def result(x: Any, place: int | None, level: Level, name: str) -> Any:
        alone = isinstance(x, Tensor) and not isinstance(x, BatchedTensor)
        return x if alone else original(x, place, level, name)

    original = mapping._result
    p.function(original, result)


@fault("vmap")
def random_numbers_are_shared(p: Patch) -> None:
    """randomness="different" draws once for all examples."""

    def randomness(shape: Any) -> Any:
        original(shape)
        return tuple(shape), []

    original = hooks.randomness
    p.function(original, randomness)


@fault("vmap")
def random_numbers_are_never_shared(p: Patch) -> None:
    """randomness="same" draws for each example."""

    def randomness(shape: Any) -> Any:
        original(shape)
        levels = [level for level in state.vmap_levels if not level.looped]
        return (*(level.size for level in levels), *shape), levels

    original = hooks.randomness
    p.function(original, randomness)


@fault("vmap")
def random_operators_are_let_in(p: Patch) -> None:
    """A random operator is no error by default: it draws once."""

    def randomness(shape: Any) -> Any:
        levels = [level for level in state.vmap_levels if level.randomness == "different"]
        return (*(level.size for level in levels), *shape), levels

    p.function(hooks.randomness, randomness)


@fault("vmap")
def chunks_draw_anew(p: Patch) -> None:
    """With randomness="same" each chunk draws numbers of its own."""

    def in_chunks(*args: Any) -> Any:
        generator = mapping.process.generator
        setting = type(generator).set_state
        p_inner = Patch()
        p_inner.set(type(generator), "set_state", lambda self, values: self)
        try:
            return original(*args)
        finally:
            p_inner.undo()
            assert type(generator).set_state is setting

    original = mapping._in_chunks
    p.function(original, in_chunks)


@fault("vmap")
def the_last_chunk_is_missing(p: Patch) -> None:
    """Examples that make no whole chunk are left out."""

    def in_chunks(func: Any, name: str, flat: Any, dims: Any, form: Any, kwargs: Any, size: int, *rest: Any) -> Any:
        return original(func, name, flat, dims, form, kwargs, size // rest[-1] * rest[-1], *rest)

    original = mapping._in_chunks
    p.function(original, in_chunks)


@fault("vmap")
def item_is_that_of_the_first_example(p: Patch) -> None:
    """.item() of a mapped tensor is the first example's."""
    p.set(BatchedTensor, "item", lambda self: self._value.select(0, 0).item())


@fault("vmap")
def branches_follow_the_first_example(p: Patch) -> None:
    """A branch on a mapped tensor goes the way of the first example."""
    p.set(BatchedTensor, "__bool__", lambda self: bool(self._value.select(0, 0)))


@fault("vmap")
def unmapped_tensors_are_written_in_turn(p: Patch) -> None:
    """A mapped tensor written into an unmapped one is written example by example."""
    p.function(hooks.refuse_write, lambda target, result: None)


@fault("vmap")
def shared_statistics_are_updated(p: Patch) -> None:
    """Batch normalisation in training mode is mapped although its running statistics are shared."""
    p.function(hooks.refuse_statistics, lambda input, statistics: None)


@fault("vmap")
def rules_of_functions_are_told_zero(p: Patch) -> None:
    """The vmap method of a custom function is told dimension 0 whatever in_dims says."""

    def given(x: Any, level: Level) -> tuple[Any, int | None]:
        return (exposed(x, level), 0) if isinstance(x, Tensor) and is_batched_at(x, level) else (x, None)

    p.function(functions._given, given)


@fault("vmap")
def debug_unwrap_goes_to_the_bottom(p: Patch) -> None:
    """debug_unwrap takes off all wrappers, whatever recurse says."""
    original = ensembles.debug_unwrap
    p.function(original, lambda x, *, recurse=True: original(x))


@fault("vmap")
def per_example_gradients_are_summed(p: Patch) -> None:
    """Each example has the gradient of all."""

    def gradients(*args: Any) -> Any:
        found = original(*args)
        return None if found is None else tuple(None if g is None else _total(g) for g in found)

    def _total(g: Tensor) -> Tensor:
        return (
            batched(g._value.sum(0, keepdim=True).expand(g._value.shape), g._level)
            if isinstance(g, BatchedTensor)
            else g
        )

    original = hooks.gradients
    p.function(original, gradients)


@fault("vmap")
def chunks_of_one_are_batched(p: Patch) -> None:
    """chunk_size=1 maps batches of one example, whose elements cannot be read."""

    def looped(
        func: Any, flat: Any, dims: Any, form: Any, kwargs: Any, size: int, randomness: str, out_dims: Any
    ) -> Any:
        return mapping._in_chunks(func, "f", flat, dims, form, kwargs, size, randomness, out_dims, 1)

    p.function(mapping._looped, looped)


# --- one run for all examples ----------------------------------------------------------------------------------------


@fault("vmap")
def elements_that_are_read_start_anew(p: Patch) -> None:
    """A function that reads elements has the whole function run again, example by example."""

    def again(*_: Any) -> Any:
        raise tensor.NeedsLoop

    p.function(examplewise.for_each, again)


@fault("vmap")
def reading_for_each_reads_the_first(p: Patch) -> None:
    """A function that reads elements reads those of the first example for all."""
    original = examplewise._example
    p.set(examplewise, "_example", lambda leaves, k, level: original(leaves, 0, level))


@fault("vmap")
def shapes_in_place_change_a_copy(p: Patch) -> None:
    """A batched tensor keeps its shape where it changes in place."""
    for name in ("t_", "unsqueeze_", "squeeze_"):
        p.wrap(Tensor, name, lambda original: lambda self, *args: (
            self if isinstance(self, BatchedTensor) else original(self, *args)))  # fmt: skip


@fault("vmap")
def strides_are_of_the_batch(p: Patch) -> None:
    """as_strided of a batched tensor takes its strides from the memory of all examples."""

    def strided(input: BatchedTensor, size: tuple, stride: tuple, storage_offset: Any) -> Tensor:
        return batched(input._value.as_strided((input._value.shape[0], *size), (1, *stride)), input._level)  # type: ignore[attr-defined]

    p.set(views, "_strided_examples", strided)


@fault("vmap")
def one_system_is_solved(p: Patch) -> None:
    """An operator of matrices takes those of the first example for all."""

    def leading(op: Any, inputs: tuple, params: dict, level: Level) -> Any:
        first = exposed(inputs[0], level).select(0, 0)  # type: ignore[attr-defined]
        return original(op, (first, *inputs[1:]), params, level)

    original = rules.leading
    p.function(original, leading)
