"""Custom functions on batched tensors: by the user's vmap staticmethod, or by mapping forward and backward themselves.

Source: torch.autograd.Function.vmap; torch notes/extending.func, "torch.vmap Support".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from reference_engine.batching.tensor import Level, batched, exposed, hidden, is_batched_at
from reference_engine.state import state
from reference_engine.tensor import Tensor
from reference_engine.utils._pytree import tree_flatten, tree_unflatten

if TYPE_CHECKING:
    from reference_engine.autograd.function import Function


class VmapInfo(NamedTuple):
    """What a vmap staticmethod is told of the vmap around it."""

    batch_size: int
    randomness: str


def apply(function: type[Function], args: tuple, level: Level) -> Any:
    """function.apply(*args), some of which are batched at `level`."""
    from reference_engine.autograd.function import Function

    own_rule = function.vmap is not Function.vmap
    if own_rule and function.generate_vmap_rule:
        raise RuntimeError(f"You tried to vmap over {function.__name__}, but it has both generate_vmap_rule=True and an "
                           "overridden vmap staticmethod. Please set generate_vmap_rule=False or delete the overridden vmap "
                           "staticmethod to avoid ambiguity.")  # fmt: skip
    if own_rule:
        return _by_rule(function, args, level)
    if function.generate_vmap_rule:
        return _mapped(function, args, level)
    raise RuntimeError(f"You tried to vmap over {function.__name__}, but it does not have vmap support. Please override and "
                       "implement the vmap staticmethod or set generate_vmap_rule=True.")  # fmt: skip


def _by_rule(function: type[Function], args: tuple, level: Level) -> Any:
    given = [_given(x, level) for x in args]
    inside, state.vmap_levels = state.vmap_levels, tuple(v for v in state.vmap_levels if v.index < level.index)
    state.refresh()
    try:
        returned = function.vmap(
            VmapInfo(level.size, level.randomness), tuple(d for _, d in given), *(x for x, _ in given)
        )
    finally:
        state.vmap_levels = inside
        state.refresh()
    if not (isinstance(returned, tuple) and len(returned) == 2):
        raise RuntimeError("Expected the vmap staticmethod to have two returns, an output and out_dims with pytree structure "
                           f"compatible with the output. Got a {type(returned)}")  # fmt: skip
    return _placed(function, *returned, level)


def _given(x: Any, level: Level) -> tuple[Any, int | None]:
    """(an argument with the mapped dimension, where that is)."""
    if not (isinstance(x, Tensor) and is_batched_at(x, level)):
        return x, None
    source = getattr(x, "_source", None)
    return source if source is not None else (exposed(x, level), 0)


def _placed(function: type[Function], output: Any, out_dims: Any, level: Level) -> Any:
    """The output, batched where out_dims says."""
    leaves, form = tree_flatten(output)
    dims, dims_form = tree_flatten(out_dims)
    if len(dims) == 1 and not isinstance(out_dims, (tuple, list)):
        dims = dims * len(leaves)
    elif dims_form.children and (form.type is None or len(dims) != len(leaves)):
        raise RuntimeError(f"{function.__name__}.vmap returned an incompatible (output, out_dims) tuple. out_dims must be "
                           f"compatible with the structure of `output`. output has structure {form} but out_dims has "
                           f"structure {dims_form}.")  # fmt: skip
    placed = [
        x if d is None else batched(x.movedim(d, 0) if d else x, level) for x, d in zip(leaves, dims, strict=True)
    ]
    return tree_unflatten(placed, form)


def _mapped(function: type[Function], args: tuple, level: Level) -> Any:
    """A custom function of whole batches, whose forward, backward and jvp are those of `function` under vmap."""
    from reference_engine.autograd.function import Function

    where = [isinstance(x, Tensor) and is_batched_at(x, level) for x in args]

    class Mapped(Function):
        @staticmethod
        def forward(ctx: Any, *whole: Any) -> Any:
            inner = ctx.inner = function._backward_cls()
            inner.needs_input_grad = ctx.needs_input_grad
            with _inside(level):
                inputs = tuple(hidden(x, level) if b else x for x, b in zip(whole, where, strict=True))
                output = function.forward(*inputs)
                function.setup_context(inner, inputs, output)
                ctx.form = [isinstance(t, Tensor) and is_batched_at(t, level) for t in inner.to_save or ()]
                ctx.save_for_backward(
                    *[exposed(t, level) if b else t for t, b in zip(inner.to_save or (), ctx.form, strict=True)]
                )
                forward = inner.saved_for_forward or ()
                ctx.forward_form = [isinstance(t, Tensor) and is_batched_at(t, level) for t in forward]
                pairs = zip(forward, ctx.forward_form, strict=True)
                ctx.save_for_forward(*[exposed(t, level) if b else t for t, b in pairs])
                outs = output if isinstance(output, tuple) else (output,)
                marked = [id(t) for t in inner.non_differentiable or ()]
                results = tuple(exposed(y, level) if isinstance(y, Tensor) else y for y in outs)
            ctx.mark_non_differentiable(*[r for r, y in zip(results, outs, strict=True) if id(y) in marked])
            return results if isinstance(output, tuple) else results[0]

        @staticmethod
        def backward(ctx: Any, *grads: Any) -> Any:
            with _inside(level):
                ctx.inner._shown = tuple(
                    hidden(t, level) if b else t for t, b in zip(ctx.saved_tensors, ctx.form, strict=True)
                )
                wrapped = [None if g is None else hidden(g, level) for g in grads]
                found = function.backward(ctx.inner, *wrapped)
                found = found if isinstance(found, tuple) else (found,)
                return tuple(_gathered(g, b, level) for g, b in zip(found, where, strict=False))

        @staticmethod
        def jvp(ctx: Any, *tangents: Any) -> Any:
            with _inside(level):
                kept = zip(ctx.saved_tensors, ctx.forward_form, strict=True)
                ctx.inner._shown = tuple(hidden(t, level) if b else t for t, b in kept)
                pairs = zip(tangents, where, strict=True)
                pushed = function.jvp(ctx.inner, *[hidden(t, level) if b and t is not None else t for t, b in pairs])
                outs = pushed if isinstance(pushed, tuple) else (pushed,)
                results = tuple(exposed(t, level) if isinstance(t, Tensor) else t for t in outs)
            return results if isinstance(pushed, tuple) else results[0]

    Mapped.__name__ = function.__name__
    whole = [exposed(x, level) if b else x for x, b in zip(args, where, strict=True)]
    result = Mapped.apply(*whole)
    if not isinstance(result, tuple):
        return hidden(result, level)
    return tuple(hidden(r, level) if isinstance(r, Tensor) else r for r in result)


def _gathered(gradient: Any, was_batched: bool, level: Level) -> Any:
    """A gradient for an argument; one that all examples share has the sum."""
    if not isinstance(gradient, Tensor) or not is_batched_at(gradient, level):
        return gradient if gradient is None or not was_batched else exposed(gradient, level)
    whole = exposed(gradient, level)
    return whole if was_batched else whole.sum(0)


class _inside:
    """While `level` is one of the vmaps around."""

    def __init__(self, level: Level) -> None:
        self.level = level

    def __enter__(self) -> None:
        self.before = state.vmap_levels
        if self.level not in self.before:
            state.vmap_levels = tuple(sorted((*self.before, self.level), key=lambda level: level.index))
        state.refresh()

    def __exit__(self, *exc: object) -> None:
        state.vmap_levels = self.before
        state.refresh()
