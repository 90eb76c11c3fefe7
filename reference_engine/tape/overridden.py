"""Views whose history does not hold any more.

Law: the backward recorded for one of several views, for a custom Function's output, or for no view at all (one taken with
grad mode off) is not that of "read these positions of the base". Once the base was changed in place, nobody can say what
the view's history is, and asking for it raises; its values and what needs no history stay.
Source: torch docs "Tensor Views"; torch notes/autograd, "In-place operations".
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reference_engine.tensor import Tensor


class Overridden:
    """Mixed into the class of such a view."""

    requires_grad = True
    output_nr = 0

    @property
    def _edge(self) -> Any:
        raise RuntimeError(self._overridden)

    @_edge.setter
    def _edge(self, value: Any) -> None:
        """A new history: an ordinary tensor again."""
        self.__class__ = type(self).__mro__[2]
        vars(self)["_edge"] = value

    _overridden: str
    _grad: Tensor | None

    @property
    def grad(self) -> Tensor | None:
        return self._grad

    def requires_grad_(self, requires_grad: bool = True) -> Any:
        """Nothing to do: it does."""
        return self


@cache
def _class_of(plain: type) -> type:
    return type(plain.__name__, (Overridden, plain), {"__module__": plain.__module__})


def override(view: Any, message: str) -> None:
    """From now on asking for the history of `view` raises a RuntimeError with this message."""
    if not is_overridden(view):
        view.__class__ = _class_of(type(view))
    view._overridden = message


def is_overridden(tensor: Any) -> bool:
    """Whether asking for its history raises."""
    return isinstance(tensor, Overridden)


def recorded_edge(tensor: Tensor) -> Any:
    """The edge that was recorded for a tensor, also where it does not hold any more."""
    return vars(tensor)["_edge"] if is_overridden(tensor) else tensor._edge
