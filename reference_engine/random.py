"""Random numbers: a seeded generator (NumPy's Philox) that can be saved and restored.

Its streams differ from torch's, as torch's own differ between devices: programs whose result depends on them are not
comparable between engines.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from reference_engine import dtypes
from reference_engine.creation import factory, finish, sizes_of
from reference_engine.state import process, state
from reference_engine.tensor import Tensor, wrap

MASK = 2**64 - 1


class Generator:
    """A source of random numbers. Source: torch.Generator."""

    def __init__(self, device: Any = "cpu") -> None:
        self.device = device
        self._seed = 0
        self.manual_seed(0)

    def manual_seed(self, seed: int) -> Generator:
        """Starts the stream that belongs to `seed`."""
        self._seed = int(seed)
        self._numpy = np.random.Generator(np.random.Philox(self._seed & MASK))
        return self

    def seed(self) -> int:
        """Starts a stream nobody can predict; returns its seed."""
        seed = int(np.random.SeedSequence().entropy) & (2**63 - 1)  # type: ignore[arg-type]
        self.manual_seed(seed)
        return seed

    def initial_seed(self) -> int:
        """The seed the stream was started with."""
        return self._seed

    def get_state(self) -> Tensor:
        """A byte tensor from which `set_state` continues: counter, key, buffer, and the positions in it."""
        saved: Any = self._numpy.bit_generator.state
        inner = saved["state"]
        words = [*inner["counter"], *inner["key"], *saved["buffer"], saved["buffer_pos"], saved["has_uint32"],
                 saved["uinteger"], self._seed & MASK]  # fmt: skip
        return wrap(np.array(words, np.uint64).view(np.uint8))

    def set_state(self, state: Tensor) -> Generator:
        """Continues from a saved state."""
        words = np.ascontiguousarray(state._array).view(np.uint64)
        position, has_uint32, uinteger, seed = (int(w) for w in words[10:])
        self._seed = seed
        self._numpy.bit_generator.state = {
            "bit_generator": "Philox", "state": {"counter": words[:4], "key": words[4:6]}, "buffer": words[6:10],
            "buffer_pos": position, "has_uint32": has_uint32, "uinteger": uinteger}  # fmt: skip
        return self


process.generator = Generator()


def manual_seed(seed: int) -> Generator:
    """Seeds the default generator. Source: torch.manual_seed."""
    return process.generator.manual_seed(seed)


def seed() -> int:
    """Seeds the default generator unpredictably. Source: torch.seed."""
    return process.generator.seed()


def initial_seed() -> int:
    """The default generator's seed. Source: torch.initial_seed."""
    return process.generator.initial_seed()


def get_rng_state() -> Tensor:
    """The default generator's state. Source: torch.get_rng_state."""
    return process.generator.get_state()


def set_rng_state(new_state: Tensor) -> None:
    """Restores the default generator's state. Source: torch.set_rng_state."""
    process.generator.set_state(new_state)


@contextmanager
def fork_rng(devices: Any = None, enabled: bool = True, **_: Any) -> Iterator[None]:
    """Numbers drawn in the block are as if never drawn. Source: torch.random.fork_rng."""
    before = process.generator.get_state() if enabled else None
    try:
        yield
    finally:
        if before is not None:
            process.generator.set_state(before)


def numpy_generator(generator: Generator | None = None) -> np.random.Generator:
    """The NumPy generator behind `generator`, or behind the default one."""
    if state.vmap_levels:
        from reference_engine.batching.hooks import check_random

        check_random()
    return (generator or process.generator)._numpy


def _drawn(draw: Any, generator: Any, shape: Any, dtype: Any, requires_grad: bool) -> Tensor:
    """What draw(NumPy generator, shape) gives, as a tensor; inside vmap for all examples at once, or one for all."""
    if not state.vmap_levels:
        return _made(draw((generator or process.generator)._numpy, tuple(shape)), dtype, requires_grad)
    from reference_engine.batching.hooks import drawn, randomness

    whole, levels = randomness(tuple(shape))
    return drawn(_made(draw((generator or process.generator)._numpy, whole), dtype, requires_grad), levels)


def _made(array: np.ndarray, dtype: Any, requires_grad: bool) -> Tensor:
    wanted = dtypes.as_dtype(dtype) if dtype is not None else dtypes.get_default_dtype()
    return finish(dtypes.converted(np.asarray(array), wanted.numpy), requires_grad)


@factory
def rand(*size: Any, generator: Any = None, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Uniform in [0, 1). Source: torch.rand."""
    return _drawn(lambda g, shape: g.random(shape), generator, sizes_of(size), dtype, requires_grad)


@factory
def randn(*size: Any, generator: Any = None, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Standard normal; complex with variance 1. Source: torch.randn."""
    if dtype is not None and dtypes.as_dtype(dtype).is_complex:
        return _drawn(_complex_normal, generator, sizes_of(size), dtype, requires_grad)
    return _drawn(lambda g, shape: g.standard_normal(shape), generator, sizes_of(size), dtype, requires_grad)


def _complex_normal(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return (generator.standard_normal(shape) + 1j * generator.standard_normal(shape)) / np.sqrt(2)


@factory
def randint(low: int, high: Any = None, size: Any = None, *, generator: Any = None, dtype: Any = None,
            requires_grad: bool = False) -> Tensor:  # fmt: skip
    """Integers in [low, high). Source: torch.randint."""
    if size is None:
        low, high, size = 0, low, high
    kind = dtype or dtypes.int64
    return _drawn(lambda g, shape: g.integers(low, high, shape), generator, size, kind, requires_grad)


@factory
def randperm(n: int, *, generator: Any = None, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """A random order of 0 .. n-1. Source: torch.randperm."""
    return _made(numpy_generator(generator).permutation(n), dtype or dtypes.int64, requires_grad)


@factory
def normal(mean: float, std: float = 1.0, size: Any = None, *, generator: Any = None, dtype: Any = None,
           requires_grad: bool = False) -> Tensor:  # fmt: skip
    """Normal with mean and deviation that are numbers. Source: torch.normal."""
    shape = () if size is None else tuple(size)
    return _drawn(lambda g, shape: g.standard_normal(shape) * std + mean, generator, shape, dtype, requires_grad)


@factory
def rand_like(input: Tensor, *, generator: Any = None, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Uniform in [0, 1) in another tensor's shape. Source: torch.rand_like."""
    return rand(*input._array.shape, generator=generator, dtype=dtype or input.dtype,
                requires_grad=requires_grad)  # fmt: skip


@factory
def randint_like(input: Tensor, low: int, high: Any = None, *, generator: Any = None, dtype: Any = None,
                 requires_grad: bool = False) -> Tensor:  # fmt: skip
    """Integers in [low, high) in another tensor's shape and type. Source: torch.randint_like."""
    low, high = (0, low) if high is None else (low, high)
    return randint(low, high, input._array.shape, generator=generator, dtype=dtype or input.dtype,
                   requires_grad=requires_grad)  # fmt: skip


@factory
def randn_like(input: Tensor, *, generator: Any = None, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Standard normal in another tensor's shape. Source: torch.randn_like."""
    return randn(*input._array.shape, generator=generator, dtype=dtype or input.dtype,
                 requires_grad=requires_grad)  # fmt: skip
