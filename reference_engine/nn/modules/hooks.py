"""Hooks on modules: where they are kept and the order in which a call runs them.

Order of a call: global then own pre-hooks, forward, global then own forward hooks; backward hooks see the gradients of
what went in and came out. Source: torch.nn.Module, its register_*_hook methods; torch.nn.modules.module.
"""

from __future__ import annotations

import warnings
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from reference_engine.nn.modules.backward_hook import BackwardHook
from reference_engine.tape.node import RemovableHandle
from reference_engine.tensor import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable

global_forward_pre_hooks: OrderedDict = OrderedDict()
global_forward_hooks: OrderedDict = OrderedDict()
global_backward_hooks: OrderedDict = OrderedDict()
global_backward_pre_hooks: OrderedDict = OrderedDict()

MIXED = ("Cannot use both regular backward hooks and full backward hooks on a single Module. Please use only one of "
         "them.")  # fmt: skip


def put(hooks: OrderedDict, hook: Callable, *, first: bool = False) -> RemovableHandle:
    """Registers a hook behind the others, or in front of them."""
    handle = RemovableHandle(hooks)
    hooks[handle.id] = hook
    if first:
        hooks.move_to_end(handle.id, last=False)
    return handle


class Entry:
    """A forward (pre-)hook and how it wants to be called."""

    __slots__ = ("always", "hook", "with_kwargs")

    def __init__(self, hook: Callable, with_kwargs: bool, always: bool = False) -> None:
        self.hook, self.with_kwargs, self.always = hook, with_kwargs, always

    def __call__(self, module: Any, args: tuple, kwargs: dict, *result: Any) -> Any:
        if self.with_kwargs:
            return self.hook(module, args, kwargs, *result)
        return self.hook(module, args, *result)


class Hooked:
    """The part of Module that registers hooks and runs a call with them."""

    _forward_pre_hooks: OrderedDict
    _forward_hooks: OrderedDict
    _backward_hooks: OrderedDict
    _backward_pre_hooks: OrderedDict
    _is_full_backward_hook: bool | None
    forward: Callable

    def _start_hooks(self) -> None:
        for name in ("_forward_pre_hooks", "_forward_hooks", "_backward_hooks", "_backward_pre_hooks"):
            self.__dict__[name] = OrderedDict()
        self.__dict__["_is_full_backward_hook"] = None

    def register_forward_pre_hook(self, hook: Callable, *, prepend: bool = False,
                                  with_kwargs: bool = False) -> RemovableHandle:  # fmt: skip
        """`hook(module, args) -> args | None` runs before forward. Source: Module.register_forward_pre_hook."""
        return put(self._forward_pre_hooks, Entry(hook, with_kwargs), first=prepend)

    def register_forward_hook(self, hook: Callable, *, prepend: bool = False, with_kwargs: bool = False,
                              always_call: bool = False) -> RemovableHandle:  # fmt: skip
        """`hook(module, args, output) -> output | None` runs after forward. Source: Module.register_forward_hook."""
        return put(self._forward_hooks, Entry(hook, with_kwargs, always_call), first=prepend)

    def register_full_backward_hook(self, hook: Callable, prepend: bool = False) -> RemovableHandle:
        """`hook(module, grad_input, grad_output) -> grad_input | None`. Source: Module.register_full_backward_hook."""
        if self._is_full_backward_hook is False:
            raise RuntimeError(MIXED)
        self._is_full_backward_hook = True
        return put(self._backward_hooks, hook, first=prepend)

    def register_full_backward_pre_hook(self, hook: Callable, prepend: bool = False) -> RemovableHandle:
        """`hook(module, grad_output) -> grad_output | None`. Source: Module.register_full_backward_pre_hook."""
        return put(self._backward_pre_hooks, hook, first=prepend)

    def register_backward_hook(self, hook: Callable) -> RemovableHandle:
        """The deprecated hook on the last node alone. Source: Module.register_backward_hook."""
        if self._is_full_backward_hook is True:
            raise RuntimeError(MIXED)
        self._is_full_backward_hook = False
        return put(self._backward_hooks, hook)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not (self._forward_pre_hooks or self._forward_hooks or self._backward_hooks or self._backward_pre_hooks
                or global_forward_pre_hooks or global_forward_hooks or global_backward_hooks
                or global_backward_pre_hooks):  # fmt: skip
            return self.forward(*args, **kwargs)
        return self._call_with_hooks(args, kwargs)

    def _call_with_hooks(self, args: tuple, kwargs: dict) -> Any:
        called: set[int] = set()
        result = None
        try:
            args, kwargs = self._run_forward_pre_hooks(args, kwargs)
            around = self._backward_hook()
            if around is not None:
                args = around.setup_input_hook(args)
            result = self.forward(*args, **kwargs)
            for number, entry in (*global_forward_hooks.items(), *self._forward_hooks.items()):
                called.add(number)
                returned = entry(self, args, kwargs, result)
                result = result if returned is None else returned
            if around is not None:
                result = self._hook_outputs(around, result)
            self._hook_last_node(args, result)
            return result
        except Exception:
            self._run_always_called(called, args, kwargs, result)
            raise

    def _run_forward_pre_hooks(self, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        for entry in (*global_forward_pre_hooks.values(), *self._forward_pre_hooks.values()):
            returned = entry(self, args, kwargs)
            if returned is None:
                continue
            if not entry.with_kwargs:
                args = returned if isinstance(returned, tuple) else (returned,)
            elif isinstance(returned, tuple) and len(returned) == 2:
                args, kwargs = returned
            else:
                raise RuntimeError("forward pre-hook must return None or a tuple of (new_args, new_kwargs), but got "
                                   f"{returned}.")  # fmt: skip
        return args, kwargs

    def _backward_hook(self) -> BackwardHook | None:
        pre_hooks = [*global_backward_pre_hooks.values(), *self._backward_pre_hooks.values()]
        own = self._backward_hooks.values() if self._is_full_backward_hook is True else ()
        hooks = [*global_backward_hooks.values(), *own]
        return BackwardHook(self, hooks, pre_hooks) if hooks or pre_hooks else None

    def _hook_outputs(self, around: BackwardHook, result: Any) -> Any:
        if not isinstance(result, (Tensor, tuple)):
            warnings.warn("For backward hooks to be called, module output should be a Tensor or a tuple of Tensors but "
                          f"received {type(result)}", stacklevel=4)  # fmt: skip
        return around.setup_output_hook(result)

    def _hook_last_node(self, args: tuple, result: Any) -> None:
        """The deprecated kind of backward hook: it sees the last node only."""
        if self._is_full_backward_hook is not False or not self._backward_hooks:
            return
        value = result
        while not isinstance(value, Tensor):
            value = next(iter(value.values())) if isinstance(value, dict) else value[0]
        node = value.grad_fn
        if node is None:
            return
        for hook in self._backward_hooks.values():
            node.register_hook(lambda grad_in, grad_out, hook=hook: hook(self, grad_in, grad_out))
        _warn_incomplete(args, result, node)

    def _run_always_called(self, called: set[int], args: tuple, kwargs: dict, result: Any) -> None:
        """After an error: the hooks that are called whatever happens; what they raise is silenced."""
        for number, entry in (*global_forward_hooks.items(), *self._forward_hooks.items()):
            if not entry.always or number in called:
                continue
            try:
                entry(self, args, kwargs, result)
            except Exception as error:
                warnings.warn("module forward hook with ``always_call=True`` raised an exception that was silenced as "
                              f"another error was raised in forward: {error}", stacklevel=4)  # fmt: skip


def _warn_incomplete(args: tuple, result: Any, node: Any) -> None:
    """What a non-full hook will not see, said as torch says it."""
    results = (result,) if isinstance(result, Tensor) else result
    if not _all_tensors(results):
        return _warn(
            "hooks on a Module that does not return a single Tensor or a tuple of Tensors", "of the grad_output"
        )
    if not _all_tensors(args):
        return _warn("hooks on a Module that does not take as input a single Tensor or a tuple of Tensors",
                     "of the grad_input")  # fmt: skip
    if len({r.grad_fn for r in results if r.grad_fn is not None}) > 1:
        return _warn("a hook when outputs are generated by different autograd Nodes", "grad_output")
    makers = {a.grad_fn for a in args if a.grad_fn is not None}
    if makers != {following for following, _ in node.next_functions}:
        _warn("a hook when the forward contains multiple autograd Nodes", "grad_input")
    return None


def _all_tensors(values: Any) -> bool:
    return isinstance(values, tuple) and all(isinstance(v, Tensor) for v in values)


def _warn(what: str, missing: str) -> None:
    article, what = (
        ("a non-full backward hook", what[7:]) if what.startswith("a hook ") else ("non-full backward hooks", what[6:])
    )
    in_future = "in future versions"
    warnings.warn(f"Using {article} {what} is deprecated and will be removed {in_future}. This hook will be missing some "
                  f"{missing}. Please use register_full_backward_hook to get the documented behavior.", FutureWarning,
                  stacklevel=6)  # fmt: skip


def register_module_forward_pre_hook(hook: Callable) -> RemovableHandle:
    """A pre-hook of every module. Source: torch.nn.modules.module.register_module_forward_pre_hook."""
    return put(global_forward_pre_hooks, Entry(hook, False))


def register_module_forward_hook(hook: Callable, *, with_kwargs: bool = False,
                                 always_call: bool = False) -> RemovableHandle:  # fmt: skip
    """A forward hook of every module. Source: torch.nn.modules.module.register_module_forward_hook."""
    return put(global_forward_hooks, Entry(hook, with_kwargs, always_call))


def register_module_full_backward_hook(hook: Callable) -> RemovableHandle:
    """A full backward hook of every module. Source: torch.nn.modules.module.register_module_full_backward_hook."""
    return put(global_backward_hooks, hook)


def register_module_full_backward_pre_hook(hook: Callable) -> RemovableHandle:
    """A full backward pre-hook of every module. Source: torch.nn.modules.module."""
    return put(global_backward_pre_hooks, hook)
