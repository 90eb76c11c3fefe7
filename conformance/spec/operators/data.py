"""The data of a sample: drawn or written, in the dtype of the check, laid out as asked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from conformance import drawing
from conformance.case import Given

from .. import given as drawn

REAL = {"complex128": "float64", "complex64": "float32"}
OWN_DTYPE = {"integers": "int64", "bernoulli": "bool"}
LAYOUTS = {"transposed": ".mT", "strided": "[..., ::2]"}


@dataclass(frozen=True)
class Datum:
    """One named tensor of a sample.

    floating: it takes the dtype of the check (a `real` one the dtype of that one's parts). layout: what its program
    does with what is given, so that the tensor is not contiguous.
    """

    name: str
    value: dict[str, Any]

    @property
    def dtype(self) -> str | None:
        """The dtype that it has in every check, None where it is floating."""
        if "dtype" in self.value:
            return str(self.value["dtype"])
        if "data" in self.value:
            flat = list(_elements(self.value["data"]))
            return "bool" if flat and all(isinstance(x, bool) for x in flat) else None
        return OWN_DTYPE.get(self.value["distribution"])

    @property
    def floating(self) -> bool:
        return self.dtype is None

    @property
    def layout(self) -> str:
        """What follows the name in the program: "", ".mT", "[..., ::2]"."""
        return LAYOUTS.get(self.value.get("layout", ""), "")

    @property
    def shape(self) -> tuple[int, ...]:
        """The tensor's shape in the program."""
        return tuple(self.value["shape"]) if "shape" in self.value else _shape(self.value["data"])

    def given(self, dtype: str, requires_grad: bool) -> Given:
        """What the engine is handed in a check of this dtype."""
        own = self.dtype or (REAL.get(dtype, dtype) if self.value.get("real") else dtype)
        leaf = requires_grad and not self.layout
        if "data" in self.value:
            elements, shape = self._laid_out()
            texts = tuple("nan" if x != x else x for x in elements)
            return Given(self.name, drawing.LITERAL, shape, 0, own, {}, leaf, texts)
        parameters = {k: self.value[k] for k in drawing.DEFAULTS[self.value["distribution"]] if k in self.value}
        distribution, seed = self.value["distribution"], self.value["seed"]
        return Given(self.name, distribution, self._before(), seed, own, parameters, leaf)

    def _before(self) -> tuple[int, ...]:
        """The shape of what the layout makes the tensor of."""
        shape, layout = self.shape, self.value.get("layout")
        if layout == "transposed":
            return (*shape[:-2], shape[-1], shape[-2])
        return (*shape[:-1], 2 * shape[-1]) if layout == "strided" else shape

    def _laid_out(self) -> tuple[tuple[Any, ...], tuple[int, ...]]:
        import numpy as np

        array = np.empty(self.shape, object)
        array.reshape(-1)[:] = list(_elements(self.value["data"]))
        if self.value.get("layout") == "transposed":
            array = array.swapaxes(-1, -2)
        elif self.value.get("layout") == "strided":
            array = np.repeat(array, 2, -1)
        return tuple(array.reshape(-1).tolist()), array.shape


def datum(name: str, value: Any) -> Datum:
    """A sample's datum as it is written: a mapping, or a number or nested list for {data: ...}."""
    return Datum(name, value if isinstance(value, dict) else {"data": value})


def mistakes(name: str, value: Any) -> Iterator[tuple[tuple[str, ...], str]]:
    """(route below the datum, what is wrong) beyond the form."""
    below: tuple[str, ...] = ("data",) if isinstance(value, dict) else ()
    found = datum(name, value)
    if "data" in found.value:
        if _shape(found.value["data"]) is None:
            yield below, f"'{name}' is no regular nested list: its rows differ in length"
            return
        for element in _elements(found.value["data"]):
            if not isinstance(element, bool | int | float) and not is_complex(element):
                yield below, f"'{name}' holds {element!r}, which is no number"
                return
    else:
        yield from (((key,), what) for key, what in drawn.mistakes(name, {"dtype": found.dtype or "float64", **value}))
    needed = {".mT": 2, "[..., ::2]": 1}.get(found.layout, 0)
    if len(found.shape) < needed:
        yield ("layout",), f"'{name}' has {len(found.shape)} dimensions; this layout needs {needed}"


def is_complex(text: Any) -> bool:
    """Whether it is a complex number as tables write it: text."""
    try:
        complex(text)
    except (TypeError, ValueError):
        return False
    return isinstance(text, str)


def _shape(data: Any) -> Any:
    """The shape of a nested list; None where it is not regular."""
    if not isinstance(data, list):
        return ()
    inner = {_shape(item) for item in data}
    if len(inner) > 1 or None in inner:
        return None
    return (len(data), *(inner.pop() if inner else ()))


def _elements(data: Any) -> Iterator[Any]:
    if isinstance(data, list):
        for item in data:
            yield from _elements(item)
    else:
        yield data
