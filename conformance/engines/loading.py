"""Finding an engine by name: "torch", "reference", or "package.module:factory"."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import importlib.util
import inspect
import os
import re
import sys
from collections.abc import Iterator
from typing import Any

from conformance.errors import EngineError
from conformance.text import one_line

from .base import Engine
from .torch_like import TorchLike, is_namespace

# name: (the package it needs, the module of its adapter)
BUILT_IN = {
    "reference": ("reference_engine", "conformance.engines.reference"),
    "torch": ("torch", "conformance.engines.torch"),
}
SPELLING = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
HINT = "an engine is 'torch', 'reference' or package.module:factory"


def load(name: str, device: str = "cpu") -> Engine:
    """The engine of that name. Raises EngineError, in one line, for everything that can go wrong on the way.

    A factory may be a callable that returns an Engine or a torch-like namespace, or either of these itself. The module
    is looked up with the current directory first. What is printed meanwhile goes to standard error.
    """
    if name in BUILT_IN:
        package, module = BUILT_IN[name]
        if not _installed(package):
            raise EngineError(f"the engine {name!r} needs {package}, which is not installed", hint=_install(name))
        factory = "engine"
    elif SPELLING.fullmatch(name):
        module, _, factory = name.partition(":")
    else:
        raise EngineError(f"unknown engine {name!r}", hint=_near(name))
    with _quiet_stdout():
        found = _construct(name, _attribute(name, _import(name, module), factory), device)
        engine = _as_engine(name, found, device)
    engine.name = name
    return engine


def available(name: str) -> bool:
    """Whether `load(name)` would find something to import. Imports no engine."""
    if name in BUILT_IN:
        return _installed(BUILT_IN[name][0])
    if not SPELLING.fullmatch(name):
        return False
    with _current_directory():
        return _installed(name.partition(":")[0].partition(".")[0])


def _installed(package: str) -> bool:
    try:
        return package in sys.modules or importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):
        return False


def _import(name: str, module: str) -> Any:
    with _current_directory():
        try:
            return importlib.import_module(module)
        except KeyboardInterrupt:
            raise
        except ModuleNotFoundError as error:
            if error.name and (module == error.name or module.startswith(f"{error.name}.")):
                raise EngineError(f"engine {name!r}: there is no module {error.name!r}", hint=_looked()) from None
            raise EngineError(f"engine {name!r}: importing {module} failed: {one_line(error)}") from error
        except SystemExit as error:
            raise EngineError(f"engine {name!r}: importing {module} exits (SystemExit {error.code!r})") from error
        except BaseException as error:  # an engine's own import may raise anything, panics of Rust code included
            raise EngineError(f"engine {name!r}: importing {module} failed: {one_line(error)}") from error


def _attribute(name: str, module: Any, path: str) -> Any:
    found = module
    for part in path.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            near = difflib.get_close_matches(part, dir(found), n=3)
            hint = f"did you mean {', '.join(near)}?" if near else None
            raise EngineError(f"engine {name!r}: {path.split('.')[0]!r} is not in {module.__name__}"
                              if part == path else f"engine {name!r}: there is no {path!r} in {module.__name__}",
                              hint=hint) from None  # fmt: skip
    return found


def _construct(name: str, factory: Any, device: str) -> Any:
    """What the factory makes; an Engine or a namespace stands for itself."""
    if isinstance(factory, Engine) or (is_namespace(factory) and not isinstance(factory, type)):
        return factory
    if not callable(factory):
        raise EngineError(f"engine {name!r} is a {type(factory).__name__}", hint=_right())
    try:
        return factory(device=device) if _takes_device(factory) else factory()
    except KeyboardInterrupt:
        raise
    except EngineError:
        raise
    except BaseException as error:
        raise EngineError(f"engine {name!r}: its factory failed: {one_line(error)}") from error


def _as_engine(name: str, found: Any, device: str) -> Engine:
    if isinstance(found, Engine):
        engine = found
    elif is_namespace(found):
        try:
            engine = TorchLike(found)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise EngineError(f"engine {name!r}: its tensor([1.0]) failed: {one_line(error)}") from error
    else:
        raise EngineError(f"engine {name!r}: the factory returned a {type(found).__name__}", hint=_right())
    if getattr(engine, "device", "cpu") != device:
        raise EngineError(f"engine {name!r} does not run on {device!r}", hint="its factory takes no device=")
    return engine


def _takes_device(factory: Any) -> bool:
    try:
        parameters = inspect.signature(factory).parameters
    except (TypeError, ValueError):
        return False
    return "device" in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


@contextlib.contextmanager
def _current_directory() -> Iterator[None]:
    """The current directory first on sys.path during an import, and last afterwards, for what is imported later."""
    here = os.getcwd()
    present = here in sys.path
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)
        if not present:
            sys.path.append(here)


@contextlib.contextmanager
def _quiet_stdout() -> Iterator[None]:
    """Sends to standard error what is printed, by Python or by compiled code."""
    sys.stdout.flush()
    try:
        kept = os.dup(1)
    except OSError:  # standard output is closed
        kept = None
    try:
        if kept is not None:
            os.dup2(2, 1)
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        if kept is not None:
            os.dup2(kept, 1)
            os.close(kept)


def _near(name: str) -> str:
    near = difflib.get_close_matches(name, BUILT_IN, n=1)
    return f"did you mean {near[0]!r}? {HINT}" if near else HINT


def _looked() -> str:
    return f"looked in {os.getcwd()} and where Python looks"


def _right() -> str:
    return "expected a conformance.engines.Engine, or a namespace with `tensor`, or a function that returns one"


def _install(name: str) -> str:
    return "pip install 'autograd-conformance[torch]'" if name == "torch" else "reinstall autograd-conformance"
