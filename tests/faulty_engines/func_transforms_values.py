"""Faults of torch.func: derivatives at the wrong point, in the wrong order, of the wrong thing."""

from __future__ import annotations

from typing import Any

import reference_engine as engine
from reference_engine.creation import ones_like
from reference_engine.func import differentiated, jacobians, jvp, reverse
from reference_engine.tensor import Tensor
from reference_engine.utils._pytree import tree_map
from tests.faulty_engines.patching import Patch, fault


def _linearized(p: Patch, push: Any) -> None:
    """linearize with another second result: push(func, primals, given, right) for tangents `given`."""

    def linearize(func: Any, *primals: Any) -> tuple:
        output, right = original(func, *primals)
        return output, lambda *given: push(func, primals, given, right)

    original = jacobians.linearize
    p.function(original, linearize)


@fault("func_transforms")
def linearize_is_a_secant(p: Patch) -> None:
    """What linearize returns is the difference f(x + t) - f(x)."""

    def push(func: Any, primals: tuple, given: tuple, right: Any) -> Any:
        moved = func(*tree_map(lambda x, t: x + t, primals, given))
        return tree_map(lambda a, b: a - b, moved, func(*primals))

    _linearized(p, push)


@fault("func_transforms")
def linearize_at_a_moved_point(p: Patch) -> None:
    """What linearize returns is the derivative at x + t."""

    def push(func: Any, primals: tuple, given: tuple, right: Any) -> Any:
        right(*given)
        return jvp(func, tree_map(lambda x, t: x + t, primals, given), given)[1]

    _linearized(p, push)


@fault("func_transforms")
def linearize_follows_the_latest_point(p: Patch) -> None:
    """A second linearize moves the first one's function to its own point."""
    latest: list[Any] = []

    def linearize(func: Any, *primals: Any) -> tuple:
        output, push = original(func, *primals)
        latest[:] = [push]
        return output, lambda *given: latest[0](*given)

    original = jacobians.linearize
    p.function(original, linearize)


@fault("func_transforms")
def linearize_takes_ones_for_the_other_tangents(p: Patch) -> None:
    """With several primals the first tangent counts alone."""

    def push(func: Any, primals: tuple, given: tuple, right: Any) -> Any:
        right(*given)
        return right(given[0], *tree_map(lambda t: t * 0, tuple(given[1:])))

    _linearized(p, push)


@fault("func_transforms")
def hessian_blocks_are_exchanged(p: Patch) -> None:
    """With several argnums block [i][j] of a Hessian stands at [j][i]."""

    def hessian(func: Any, argnums: Any = 0) -> Any:
        def wrapped(*args: Any) -> Any:
            found = original(func, argnums)(*args)
            several = isinstance(argnums, tuple)
            return tuple(tuple(row[i] for row in found) for i in range(len(found))) if several else found

        return wrapped

    original = jacobians.hessian
    p.function(original, hessian)


@fault("func_transforms")
def hessian_blocks_are_transposed(p: Patch) -> None:
    """With several argnums block [i][j] of a Hessian has the elements of argument j first."""

    def hessian(func: Any, argnums: Any = 0) -> Any:
        def wrapped(*args: Any) -> Any:
            found = original(func, argnums)(*args)
            return tree_map(lambda h: h.t().reshape(h.shape) if h.dim() == 2 else h, found)

        return wrapped

    original = jacobians.hessian
    p.function(original, hessian)


@fault("func_transforms")
def the_last_chunk_starts_too_early(p: Patch) -> None:
    """The rows of the last chunk of a Jacobian are the last `chunk_size` ones, where fewer are left."""

    def mapped(function: Any, basis: list[Tensor], chunk_size: int | None, randomness: str = "error") -> list[Tensor]:
        results = original(function, basis, chunk_size, randomness)
        count, size = len(basis[0]), chunk_size or 1
        left = count % size if size < count else 0
        for result in results:
            if left:
                result.detach()[count - left :] = result.detach()[count - size : count - size + left].clone()
        return results

    original = jacobians._mapped
    p.function(original, mapped)


@fault("func_transforms")
def jacfwd_lays_columns_as_rows(p: Patch) -> None:
    """jacfwd reshapes its stack of columns without moving the inputs' dimension to the back."""

    def jacfwd(func: Any, argnums: Any = 0, has_aux: bool = False, *, randomness: str = "error") -> Any:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            found = original(func, argnums, has_aux, randomness=randomness)(*args, **kwargs)
            j = found[0] if has_aux else found
            single = isinstance(j, Tensor) and isinstance(args[0], Tensor) and isinstance(argnums, int)
            ndim = args[argnums].dim() if single else 0
            if not single or j.dim() < 2 or not ndim:
                return found
            order = [*range(j.dim() - ndim, j.dim()), *range(j.dim() - ndim)]
            wrong = j.permute(order).reshape(j.shape)
            return (wrong, found[1]) if has_aux else wrong

        return wrapped

    original = jacobians.jacfwd
    p.function(original, jacfwd)


@fault("func_transforms")
def jacobians_are_nested_by_input(p: Patch) -> None:
    """Of several outputs and inputs a Jacobian is nested with the inputs first."""
    original = jacobians.jacrev

    def jacrev(func: Any, argnums: Any = 0, **options: Any) -> Any:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            j = original(func, argnums, **options)(*args, **kwargs)
            nested = isinstance(j, tuple) and isinstance(argnums, tuple) and all(isinstance(row, tuple) for row in j)
            return tuple(zip(*j, strict=True)) if nested else j

        return wrapped

    p.function(original, jacrev)


@fault("func_transforms")
def scalar_outputs_count_as_vectors(p: Patch) -> None:
    """The Jacobian of a 0-d output has a first dimension of 1."""

    def by_output(columns: Any, outputs: Any, inputs: Any) -> Any:
        rows = original(columns, outputs, inputs)
        return [[b if y.dim() else b.unsqueeze(0) for b in row] for row, y in zip(rows, outputs, strict=True)]

    original = jacobians._by_output
    p.function(original, by_output)


@fault("func_transforms")
def cotangents_are_taken_for_ones(p: Patch) -> None:
    """What vjp returns pulls ones back, whatever it is given."""

    def gradients(outputs: Any, inputs: Any, cotangents: Any, **options: Any) -> Any:
        ones = [None if c is None else ones_like(c) for c in cotangents]
        return original(outputs, inputs, ones, **options)

    original = differentiated.gradients
    p.set(reverse, "gradients", gradients)


@fault("func_transforms")
def a_pull_of_one_primal_is_bare(p: Patch) -> None:
    """What vjp returns gives a tensor where there is one primal."""

    def bare(func: Any, *primals: Any, has_aux: bool = False) -> tuple:
        output, pull, *aux = original(func, *primals, has_aux=has_aux)

        def vjp_fn(*given: Any, **options: Any) -> Any:
            found = pull(*given, **options)
            return found[0] if len(primals) == 1 else found

        return (output, vjp_fn, *aux)

    original = reverse.vjp
    p.set(engine.func, "vjp", bare)


@fault("func_transforms")
def func_grad_fills_grad(p: Patch) -> None:
    """grad leaves its results in the `.grad` of inputs that require grad."""

    def make(original: Any) -> Any:
        def grad(func: Any, argnums: Any = 0, has_aux: bool = False) -> Any:
            def wrapped(*args: Any, **kwargs: Any) -> Any:
                result = original(func, argnums, has_aux)(*args, **kwargs)
                found = result[0] if has_aux else result
                place = args[argnums] if isinstance(argnums, int) else None
                if isinstance(place, Tensor) and place.requires_grad and place.is_leaf:
                    place.grad = found.detach()
                return result

            return wrapped

        return grad

    p.function(reverse.grad, make(reverse.grad))


@fault("func_transforms")
def gradients_are_constants_outside(p: Patch) -> None:
    """What grad returns is cut from what is tracked outside, so that a second grad finds nothing."""

    def gradients(*args: Any, recorded: bool) -> Any:
        return tree_map(lambda t: t.detach(), original(*args, recorded=recorded))

    original = differentiated.gradients
    p.set(reverse, "gradients", gradients)


@fault("func_transforms")
def captured_tensors_are_cut(p: Patch) -> None:
    """Results are connected with tracked inputs, and not with what a function closes over."""

    def tracked_outside(results: Any, inputs: Any) -> bool:
        return any(not x.is_leaf for x in inputs) and original(results, inputs)

    original = differentiated.tracked_outside
    p.function(original, tracked_outside)


@fault("func_transforms")
def gradient_and_value_change_places(p: Patch) -> None:
    """grad_and_value returns (value, gradient)."""

    def swapped(func: Any, argnums: Any = 0, has_aux: bool = False) -> Any:
        return lambda *args, **kwargs: original(func, argnums, has_aux)(*args, **kwargs)[::-1]

    original = reverse.grad_and_value
    p.function(original, swapped)


@fault("func_transforms")
def keyword_arguments_are_forgotten(p: Patch) -> None:
    """A transformed function takes no notice of keyword arguments."""

    def grad(func: Any, argnums: Any = 0, has_aux: bool = False) -> Any:
        return lambda *args, **kwargs: original(func, argnums, has_aux)(*args)

    original = reverse.grad
    p.function(original, grad)


@fault("func_transforms")
def aux_of_jacfwd_has_a_batch(p: Patch) -> None:
    """jacfwd returns its aux once for each column."""

    def jacfwd(func: Any, argnums: Any = 0, has_aux: bool = False, *, randomness: str = "error") -> Any:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            found = original(func, argnums, has_aux, randomness=randomness)(*args, **kwargs)
            if not has_aux:
                return found
            return found[0], tree_map(lambda a: a.expand(2, *a.shape), found[1])

        return wrapped

    original = jacobians.jacfwd
    p.function(original, jacfwd)


@fault("func_transforms")
def flags_are_set_inside(p: Patch) -> None:
    """requires_grad_ inside a transform makes a leaf of the transform's input."""

    def requires_grad_(self: Tensor, requires_grad: bool = True) -> Tensor:
        self._tracked = requires_grad
        return self

    p.set(Tensor, "requires_grad_", requires_grad_)


@fault("func_transforms")
def outputs_of_any_type_are_pulled(p: Patch) -> None:
    """vjp takes outputs that have no derivative."""
    p.set(reverse, "_check_differentiable", lambda leaves: None)


@fault("func_transforms")
def pulled_pairs_share_a_cotangent(p: Patch) -> None:
    """Of several outputs each is pulled back with the first one's cotangent."""

    def gradients(outputs: Any, inputs: Any, cotangents: Any, **options: Any) -> Any:
        first = [cotangents[0] if c is not None and c.shape == cotangents[0].shape else c for c in cotangents]
        return original(outputs, inputs, first, **options)

    original = differentiated.gradients
    p.set(reverse, "gradients", gradients)
