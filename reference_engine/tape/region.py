"""The part of a base that a view shows: gradients taken from it and put into it, over arrays and tensors alike.

A complex gradient is the pair of the gradients of its real and imaginary parts (torch notes/autograd, "Autograd for
Complex Numbers"). So a real view of a complex base, or the reverse, is a matter of positions among real numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reference_engine.tape.geometry import Geometry, positions

if TYPE_CHECKING:
    from reference_engine.tensor import Tensor


class Region:
    """Which elements of `base` a view on the same memory consists of."""

    def __init__(self, base: Tensor, view: Tensor) -> None:
        outer, inner = base._memory, view._memory
        self.shape = base._array.shape
        self.conjugate = view.is_conj() is not base.is_conj()
        mixed = outer.dtype.kind != inner.dtype.kind
        self.base_pairs, self.view_pairs = mixed and outer.dtype.kind == "c", mixed and inner.dtype.kind == "c"
        self.positions = positions(Geometry.of(outer, reals=mixed), Geometry.of(inner, reals=mixed))
        if self.base_pairs:
            self.shape = (*self.shape, 2)

    def take(self, gradient: Any) -> Any:
        """The view's part of the base's gradient."""
        from reference_engine.ops.complex import as_complex, as_reals, conjugated
        from reference_engine.ops.positions import take_positions

        taken = take_positions(as_reals(gradient) if self.base_pairs else gradient, positions=self.positions)
        taken = as_complex(taken) if self.view_pairs else taken
        return conjugated(taken) if self.conjugate else taken

    def put(self, gradient: Any) -> Any:
        """The base's gradient that the view's gives; zero elsewhere."""
        from reference_engine.ops.complex import as_complex, as_reals, conjugated
        from reference_engine.ops.positions import put_positions

        gradient = conjugated(gradient) if self.conjugate else gradient
        gradient = as_reals(gradient) if self.view_pairs else gradient
        placed = put_positions(gradient, positions=self.positions, shape=self.shape)
        return as_complex(placed) if self.base_pairs else placed
