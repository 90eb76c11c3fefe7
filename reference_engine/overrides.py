"""`__torch_function__`: classes that answer for torch's functions.

Law: a function that is given an object of a class with `__torch_function__`, as an argument or in a list that is one, asks
that class instead of running: `__torch_function__(func, types, args, kwargs)`. Subclasses are asked before their bases, else
the first argument first; who returns NotImplemented leaves it to the next. A subclass of Tensor has one from Tensor, which
runs the function and makes what it returns of the subclass, too. Plain tensors are never asked, and pay nothing: a
subclass's methods are told by its own class (`equip`), functions by what the namespaces publish (`overridable`).
Source: torch docs "torch.overrides"; notes/extending, "Extending torch Python API".
"""

from __future__ import annotations

import functools
import inspect
import types as python_types
from typing import TYPE_CHECKING, Any

from reference_engine.state import process, state
from reference_engine.tensor import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

UNANSWERED = object()
# What every class has for itself, and what is about an object rather than about a tensor.
OWN = frozenset({
    "__array__", "__array_priority__", "__array_wrap__", "__copy__", "__deepcopy__", "__dict__", "__dir__", "__doc__",
    "__hash__", "__init__", "__init_subclass__", "__module__", "__new__", "__reduce__", "__reduce_ex__", "__setstate__",
    "__slots__", "__torch_function__", "__weakref__", "as_subclass",
})  # fmt: skip
# How torch calls Python's operators, where not by their own name.
OPERATORS = {
    f"__{name}__": name for name in ("add", "sub", "mul", "neg", "matmul", "abs", "lt", "le", "gt", "ge", "ne", "pow")
}
OPERATORS |= {f"__i{name}__": f"{name}_" for name in ("add", "sub", "mul")}
OPERATORS |= {
    "__radd__": "add",
    "__rmul__": "mul",
    "__truediv__": "div",
    "__mod__": "remainder",
    "__itruediv__": "div_",
}
BINARY = frozenset(f"__{r}{name}__" for r in ("", "r") for name in (
    "add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or", "xor"))  # fmt: skip


class Disabled:
    """In the block nothing is asked: functions run on subclasses as on tensors. Source: torch._C, class of this name."""

    def __enter__(self) -> None:
        self.before, state.overrides = state.overrides, False

    def __exit__(self, *exc: object) -> None:
        state.overrides = self.before


DisableTorchFunctionSubclass = type("DisableTorchFunctionSubclass", (Disabled,), {})
DisableTorchFunction = type("DisableTorchFunction", (Disabled,), {})


def _disabled_torch_function_impl(func: Callable, types: Iterable, args: tuple = (), kwargs: dict | None = None) -> Any:
    """As `__torch_function__` of a class: it is a tensor like any other, and gives plain ones."""
    with Disabled():
        return func(*args, **(kwargs or {}))


# Of torch._C what the documents name.
binary = python_types.SimpleNamespace(
    DisableTorchFunction=DisableTorchFunction, DisableTorchFunctionSubclass=DisableTorchFunctionSubclass,
    _disabled_torch_function_impl=_disabled_torch_function_impl,
)  # fmt: skip


def _torch_function(cls: type, func: Callable, types: Iterable, args: tuple = (), kwargs: dict | None = None) -> Any:
    """Runs the function; tensors that it returns become tensors of this class. Source: Tensor.__torch_function__."""
    if not all(issubclass(cls, t) for t in types):
        return NotImplemented
    with Disabled():
        result = func(*args, **(kwargs or {}))
        return result if func in get_default_nowrap_functions() else _converted(result, cls)


def _converted(result: Any, cls: Any) -> Any:
    if cls is Tensor or isinstance(result, cls):
        return result
    if isinstance(result, Tensor):
        return result.as_subclass(cls)
    if isinstance(result, (tuple, list)):
        made = [_converted(x, cls) for x in result]
        return getattr(type(result), "_make", type(result))(made)
    return result


def _asks(x: Any) -> bool:
    kind = type(x)
    if kind in process.unasked:
        return False
    own = getattr(kind, "__torch_function__", None)
    return own is not None and own is not _disabled_torch_function_impl


def _relevant(values: Iterable[Any]) -> list[Any]:
    """Those that are to be asked, one of each class, in order."""
    found: list[Any] = []
    for x in values:
        for item in x if type(x) in (list, tuple) else (x,):
            if _asks(item) and all(type(item) is not type(other) for other in found):
                behind = (i for i, other in enumerate(found) if isinstance(item, type(other)))
                found.insert(next(behind, len(found)), item)
    return found


def _ask(func: Callable, relevant: list[Any], args: tuple, kwargs: dict) -> Any:
    types = tuple(map(type, relevant))
    for x in relevant:
        result = x.__torch_function__(func, types, args, kwargs) if kwargs else x.__torch_function__(func, types, args)
        if result is not NotImplemented:
            return result
    return NotImplemented


def answer(func: Callable, args: tuple, kwargs: dict) -> Any:
    """What the arguments' classes answer for a function; UNANSWERED where none is to be asked. Raises where none will."""
    if not state.overrides or not (relevant := _relevant([*args, *kwargs.values()])):
        return UNANSWERED
    result = _ask(func, relevant, args, kwargs)
    if result is NotImplemented:
        raise TypeError(_refused(func, relevant))
    return result


def _refused(func: Callable, relevant: list[Any]) -> str:
    if getattr(func, "of", None) == "torch.nn.functional":
        return (f"no implementation found for 'torch.nn.functional.{func.__name__}' on types that implement "
                f"__torch_function__: {list(map(type, relevant))}")  # fmt: skip
    a_method = getattr(Tensor, func.__name__, None) is func and isinstance(relevant[0], Tensor)
    where = "torch.Tensor" if a_method else "torch"
    kinds = "\n".join(f"  - tensor subclass {type(x)}" for x in relevant)
    return (f"Multiple dispatch failed for '{where}.{func.__name__}'; all __torch_function__ handlers returned "
            f"NotImplemented:\n\n{kinds}\n\nFor more information, try re-running with TORCH_LOGS=not_implemented")  # fmt: skip


def overridable(function: Callable, of: str = "torch") -> Callable:
    """A function of a namespace, which first asks its arguments' classes."""

    takes_input = next(iter(inspect.signature(function).parameters), "") == "input"

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        for x in args:
            if type(x) not in process.unasked:
                break
        else:
            if not kwargs:
                return function(*args)
        result = answer(call, args, kwargs)
        if result is not UNANSWERED:
            return result
        try:
            return function(*args, **kwargs)
        except AttributeError:
            if not takes_input or not args or isinstance(args[0], (Tensor, list, tuple)):
                raise
        raise TypeError(
            f"{call.__name__}(): argument 'input' (position 1) must be Tensor, not {type(args[0]).__name__}"
        )

    call.of = of  # type: ignore[attr-defined]
    return call


def publish(namespace: dict[str, Any], names: Iterable[str], of: str = "torch") -> dict[Callable, Callable]:
    """Makes functions of a namespace overridable; which became which. Elementwise operators ask for themselves, where they
    are not quick.
    """
    found = {name: namespace[name] for name in names if isinstance(namespace[name], python_types.FunctionType)}
    made = {function: overridable(function, of) for function in found.values() if not hasattr(function, "operator")}
    namespace.update({name: made[function] for name, function in found.items() if function in made})
    return made


def replace(modules: Iterable[Any], made: dict[Callable, Callable]) -> None:
    """Has modules call what is published."""
    for module in modules:
        for name, value in list(vars(module).items()):
            if isinstance(value, python_types.FunctionType) and value in made:
                setattr(module, name, made[value])


# --- methods of subclasses ---------------------------------------------------------------------------------------


def equip(cls: type) -> None:
    """Gives a new subclass of Tensor methods that ask it; what it or a base of its defines itself stays."""
    if cls.__module__.partition(".")[0] == __name__.partition(".")[0]:
        cls.__torch_function__ = _disabled_torch_function_impl  # type: ignore[attr-defined]
        process.unasked.add(cls)
        return
    if cls.__torch_function__ is _disabled_torch_function_impl:  # type: ignore[attr-defined]
        return
    below = cls.__mro__[: cls.__mro__.index(Tensor)]
    taken = {name for base in below for name in vars(base)}
    for base in Tensor.__mro__[:-1]:
        for name, value in vars(base).items():
            private = name.startswith("_") and not name.startswith("__") and name not in ("_version", "_base", "_grad")
            if private or name in taken or name in OWN:
                continue
            if isinstance(value, property):
                setattr(cls, name, _asking_property(value))
            elif isinstance(value, python_types.FunctionType):
                setattr(cls, name, _asking_method(name))


def _asking_method(name: str) -> Callable:
    known_as = OPERATORS.get(name, name)

    def call(*args: Any, **kwargs: Any) -> Any:
        if not state.overrides:
            return getattr(Tensor, name)(*args, **kwargs)
        func = getattr(Tensor, known_as)
        relevant = _relevant([*args, *kwargs.values()])
        result = _ask(func, relevant, args, kwargs)
        if result is NotImplemented and name not in BINARY:
            raise TypeError(_refused(func, relevant))
        return result

    call.__name__ = call.__qualname__ = name
    return call


def _asking_property(own: property) -> property:
    def ask(func: Callable, *args: Any) -> Any:
        result = answer(func, args, {})
        return func(*args) if result is UNANSWERED else result

    return property(
        lambda self: ask(own.__get__, self),
        None if own.fset is None else lambda self, value: ask(own.__set__, self, value),
        None if own.fdel is None else lambda self: ask(own.__delete__, self),
        own.__doc__,
    )


# --- torch.overrides ---------------------------------------------------------------------------------------------


def has_torch_function(relevant_args: Iterable[Any]) -> Any:
    """Whether an argument's class is to be asked. Source: torch.overrides.has_torch_function."""
    return state.overrides and any(map(_asks, relevant_args))


def handle_torch_function(public_api: Callable, relevant_args: Iterable[Any], *args: Any, **kwargs: Any) -> Any:
    """What the arguments' classes answer for a function of one's own. Source: torch.overrides, function of this name."""
    relevant = _relevant(relevant_args)
    types = tuple(map(type, relevant))
    for x in relevant:
        result = x.__torch_function__(public_api, types, args, kwargs)
        if result is not NotImplemented:
            return result
    raise TypeError(f"no implementation found for '{public_api.__module__}.{public_api.__name__}' on types that implement "
                    f"__torch_function__: {list(types)}")  # fmt: skip


def wrap_torch_function(dispatcher: Callable) -> Callable:
    """Decorator: asks the classes of what `dispatcher(*args, **kwargs)` returns. Source: torch.overrides."""

    def decorate(func: Callable) -> Callable:
        @functools.wraps(func)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            relevant = dispatcher(*args, **kwargs)
            if has_torch_function(relevant):
                return handle_torch_function(wrapped, relevant, *args, **kwargs)
            return func(*args, **kwargs)

        return wrapped

    return decorate


def is_tensor_like(inp: Any) -> Any:
    """Whether it is a tensor or has `__torch_function__`. Source: torch.overrides.is_tensor_like."""
    return type(inp) is Tensor or hasattr(inp, "__torch_function__")


def is_tensor_method_or_property(func: Callable) -> Any:
    """Whether it is a method of Tensor, or gets or sets a property. Source: torch.overrides, function of this name."""
    return func.__name__ in ("__get__", "__set__") or getattr(Tensor, func.__name__, None) is func


@functools.cache
def get_default_nowrap_functions() -> frozenset:
    """What gives its result as it is: a gradient, a base. Source: torch.overrides, function of this name."""
    bases: dict[str, Any] = {name: value for base in reversed(Tensor.__mro__) for name, value in vars(base).items()}
    return frozenset(
        bases[name].__get__ for name in ("grad", "_base", "_grad") if isinstance(bases.get(name), property)
    )


def finish() -> None:
    """Makes methods of Tensor known by the names that they have there, and those with other tensors overridable."""
    for name, function in list(vars(Tensor).items()):
        if not isinstance(function, python_types.FunctionType):
            continue
        inner = function.__name__.startswith("_") and not function.__name__.startswith("__")
        if inner or getattr(Tensor, function.__name__, None) is not function:
            function.__name__ = name
    for name in ("copy_", "where", "matmul", "mm", "mv", "bmm", "dot", "index_put_", "masked_scatter_"):
        setattr(Tensor, name, overridable(getattr(Tensor, name)))


Tensor.__torch_function__ = classmethod(_torch_function)  # type: ignore[attr-defined]
process.equip = equip
for _known in Tensor.__subclasses__():
    equip(_known)

__all__ = [
    "DisableTorchFunction", "DisableTorchFunctionSubclass", "get_default_nowrap_functions", "handle_torch_function",
    "has_torch_function", "is_tensor_like", "is_tensor_method_or_property", "wrap_torch_function",
]  # fmt: skip
