"""What distributions have in common: parameters, their constraints, samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from reference_engine import dtypes
from reference_engine.autograd.grad_mode import no_grad
from reference_engine.memory import Size
from reference_engine.ops import registry
from reference_engine.tensor import Tensor, wrap

# What a parameter or a sample has to satisfy: torch's name for it, and the test over arrays.
Condition = tuple[str, Callable[[np.ndarray], np.ndarray]]
REAL: Condition = ("Real()", lambda x: ~np.isnan(x))
POSITIVE: Condition = ("GreaterThan(lower_bound=0.0)", lambda x: x > 0)
NOT_NEGATIVE: Condition = ("GreaterThanEq(lower_bound=0.0)", lambda x: x >= 0)
UNIT: Condition = ("Interval(lower_bound=0.0, upper_bound=1.0)", lambda x: (x >= 0) & (x <= 1))
BOOLEAN: Condition = ("Boolean()", lambda x: (x == 0) | (x == 1))


def tensors(*parameters: Any) -> list[Tensor]:
    """Parameters as tensors of one shape."""
    like = next((p for p in parameters if isinstance(p, Tensor)), None)
    kind = (like.dtype if like is not None else dtypes.get_default_dtype()).numpy
    return list(
        registry.functions["broadcast_tensors"](
            *[p if isinstance(p, Tensor) else wrap(np.asarray(p, kind)) for p in parameters]
        )
    )


class Distribution:
    """What distributions have in common. `constraints` says what each parameter satisfies."""

    constraints: ClassVar[dict[str, Condition]] = {}
    has_rsample = False
    support: Any = REAL

    def __init__(self, batch_shape: Any = (), event_shape: Any = (), validate_args: bool | None = None) -> None:
        self._batch_shape, self._event_shape = Size(batch_shape), Size(event_shape)
        self._validated = validate_args is not False
        for name, (told, holds) in self.constraints.items() if self._validated else ():
            value = vars(self).get(name)
            if value is not None and not holds(value._array).all():
                raise ValueError(f"Expected parameter {name} ({kind_of(value)}) of distribution {self!r} to satisfy the "
                                 f"constraint {told}, but found invalid values:\n{shown(value)}")  # fmt: skip

    @property
    def batch_shape(self) -> Size:
        """The shape of the parameters."""
        return self._batch_shape

    @property
    def event_shape(self) -> Size:
        """The shape of one sample of one of them."""
        return self._event_shape

    def __repr__(self) -> str:
        given = {k: vars(self).get(k) for k in self.constraints}
        parts = [
            f"{k}: {v if not v._array.ndim or v._array.size == 1 else v.size()}"
            for k, v in given.items()
            if v is not None
        ]
        return f"{type(self).__name__}({', '.join(parts)})"

    def extended(self, sample_shape: Any) -> tuple[int, ...]:
        """The shape of samples: sample_shape, batch_shape, event_shape."""
        return (*sample_shape, *self._batch_shape, *self._event_shape)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Samples that do not require grad."""
        with no_grad():
            return self.rsample(sample_shape)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Samples that are differentiable in the parameters."""
        raise NotImplementedError

    def log_prob(self, value: Tensor) -> Tensor:
        """The logarithm of the density, or of the probability, at a value."""
        raise NotImplementedError

    def check(self, value: Tensor) -> None:
        """Raises ValueError for a value that does not fit the parameters, or lies outside of the support."""
        if not self._validated:
            return
        whole = self.extended(())
        if any(a != b and 1 not in (a, b) for a, b in zip(value._array.shape[::-1], whole[::-1], strict=False)):
            raise ValueError("Value is not broadcastable with batch_shape+event_shape: "
                             f"{value.size()} vs {Size(whole)}.")  # fmt: skip
        told, holds = self.support
        if not holds(value._array).all():
            raise ValueError(f"Expected value argument ({kind_of(value)}) to be within the support ({told}) of the distribution "
                             f"{self!r}, but found invalid values:\n{shown(value)}")  # fmt: skip

    @property
    def mean(self) -> Tensor:
        """The expectation."""
        raise NotImplementedError

    @property
    def variance(self) -> Tensor:
        """The variance."""
        raise NotImplementedError

    @property
    def stddev(self) -> Tensor:
        """The standard deviation."""
        return self.variance.sqrt()

    def entropy(self) -> Tensor:
        """Minus the expectation of log_prob."""
        raise NotImplementedError


def kind_of(value: Tensor) -> str:
    """A tensor as messages name it."""
    return f"Tensor of shape {tuple(value._array.shape)}"


def shown(value: Tensor) -> Any:
    """Values as messages show them."""
    return value if value._array.ndim else value.item()
