"""The optimizer: groups of parameters with their options, state per parameter, and a step. Source: torch.optim.Optimizer.

A formula is written once with augmented assignments (`buffer *= momentum`) and read twice: over the parameters' arrays,
in place, and over tensors where the step itself is to be differentiated (`differentiable=True`).
"""

from __future__ import annotations

import functools
import warnings
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable
from copy import deepcopy
from typing import Any

import numpy as np

from reference_engine.autograd.grad_mode import enable_grad
from reference_engine.nn.modules.hooks import put
from reference_engine.nn.modules.module import clear_grad
from reference_engine.nn.modules.registered import type_name
from reference_engine.state import state as modes
from reference_engine.tape.node import RemovableHandle
from reference_engine.tensor import Tensor

DUPLICATE = (
    "optimizer contains a parameter group with duplicate parameters; in future, this will cause an error; see "
    "github.com/pytorch/pytorch/issues/40967 for more information"
)

STATE_HOOKS = ("before saving", "after saving", "before loading", "after loading")


class _Required:
    """Stands for an option that every group must give."""

    def __repr__(self) -> str:
        return "<required parameter>"


required = _Required()


def number(value: Any) -> Any:
    """An option as a Python number: it may be given as a tensor of one element."""
    return value.item() if isinstance(value, Tensor) else value


def check_options(**checks: tuple[bool, str]) -> None:
    """Raises the message of the first check that does not hold."""
    for holds, message in checks.values():
        if not holds:
            raise ValueError(message)


class Optimizer:
    """Base of optimizers. A subclass gives defaults and `update(group)`, or defines `step` itself."""

    def __init__(self, params: Any, defaults: dict[str, Any]) -> None:
        if isinstance(params, Tensor):
            raise TypeError("params argument given to the optimizer should be an iterable of Tensors or dicts, but got "
                            + type_name(params))  # fmt: skip
        if defaults.get("fused") and defaults.get("differentiable"):
            raise RuntimeError("`fused` does not support `differentiable`")
        if defaults.get("fused") and defaults.get("foreach"):
            raise RuntimeError("`fused` and `foreach` cannot be `True` together.")
        self.defaults = defaults
        self.state: defaultdict[Any, dict[str, Any]] = defaultdict(dict)
        self.param_groups: list[dict[str, Any]] = []
        self._pre_hooks: OrderedDict = OrderedDict()
        self._post_hooks: OrderedDict = OrderedDict()
        self._state_hooks: dict[str, OrderedDict] = {place: OrderedDict() for place in STATE_HOOKS}
        groups = list(params)
        if not groups:
            raise ValueError("optimizer got an empty parameter list")
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        for group in groups:
            self.add_param_group(group)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "step" in cls.__dict__:
            cls.step = _with_hooks(cls.step)  # type: ignore[method-assign]

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Adds parameters with options of their own; what is not given is the default."""
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group must be a dict, but got {type(param_group)}")
        params = param_group["params"]
        if isinstance(params, set):
            raise TypeError("optimizer parameters need to be organized in ordered collections, but the ordering of tensors "
                            "in sets will change between runs. Please use a list instead.")  # fmt: skip
        params = [params] if isinstance(params, Tensor) else list(params)
        names = [p[0] for p in params if isinstance(p, tuple)]
        if names:
            if len(names) != len(params):
                raise ValueError("all optimizer params should be with/without names. Some param names are missing")
            param_group["param_names"] = names
            params = [p[1] for p in params]
        for parameter in params:
            self._check_parameter(parameter)
        if len({id(p) for p in params}) < len(params):
            warnings.warn(DUPLICATE, UserWarning, stacklevel=3)
        param_group["params"] = params
        for name, default in self.defaults.items():
            if default is required and name not in param_group:
                raise ValueError(f"parameter group didn't specify a value of required optimization parameter {name}")
            param_group.setdefault(name, default)
        known = {id(p) for group in self.param_groups for p in group["params"]}
        if known & {id(p) for p in params}:
            raise ValueError("some parameters appear in more than one parameter group")
        self.param_groups.append(param_group)

    def _check_parameter(self, parameter: Any) -> None:
        if not isinstance(parameter, Tensor):
            raise TypeError(f"optimizer can only optimize Tensors, but one of the params is {type_name(parameter)}")
        if not self.defaults.get("differentiable") and not (parameter.is_leaf or parameter.retains_grad):
            raise ValueError("can't optimize a non-leaf Tensor")

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forgets all gradients: None, or zeros written into them."""
        for group in self.param_groups:
            for parameter in group["params"]:
                clear_grad(parameter, set_to_none)

    def step(self, closure: Callable | None = None) -> Any:
        """One step on the present gradients; a closure recomputes the loss, which is returned."""
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        before = modes.grad_enabled
        try:
            for group in self.param_groups:
                modes.set_grad_enabled(before and bool(group.get("differentiable")))
                self.update(group)
        finally:
            modes.set_grad_enabled(before)
        return loss

    def update(self, group: dict[str, Any]) -> None:
        """One step for one group; the subclass's."""
        raise NotImplementedError

    # --- state ---------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """State and options with parameters replaced by their numbers, counted over all groups. Tensors are not copied."""
        for hook in self._state_hooks["before saving"].values():
            hook(self)
        numbers: dict[int, int] = {}
        groups = []
        for group in self.param_groups:
            for parameter in group["params"]:
                numbers.setdefault(id(parameter), len(numbers))
            packed = {name: value for name, value in group.items() if name != "params"}
            packed["params"] = [numbers[id(p)] for p in group["params"]]
            groups.append(packed)
        state = {numbers[id(k)] if isinstance(k, Tensor) else k: v for k, v in self.state.items()}
        result: dict[str, Any] = {"state": state, "param_groups": groups}
        for hook in self._state_hooks["after saving"].values():
            returned = hook(self, result)
            result = result if returned is None else returned
        return result

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes over state and options. Values are cast to their parameter's dtype; a tensor that has it is shared."""
        for hook in self._state_hooks["before loading"].values():
            returned = hook(self, state_dict)
            state_dict = state_dict if returned is None else returned
        saved = deepcopy(state_dict["param_groups"])
        if len(saved) != len(self.param_groups):
            raise ValueError("loaded state dict has a different number of parameter groups")
        if any(len(a["params"]) != len(b["params"]) for a, b in zip(saved, self.param_groups, strict=True)):
            raise ValueError("loaded state dict contains a parameter group that doesn't match the size of optimizer's "
                             "group")  # fmt: skip
        parameters: dict[Any, Tensor] = {}
        for old, present in zip(saved, self.param_groups, strict=True):
            parameters.update(zip(old["params"], present["params"], strict=True))
            old["params"] = present["params"]
        self.state.clear()
        for number_, values in state_dict["state"].items():
            owner = parameters.get(number_)
            if owner is None:
                self.state[number_] = values
                continue
            self.state[owner] = {name: _taken_over(name, value, owner) for name, value in values.items()}
        self.param_groups = saved
        for hook in self._state_hooks["after loading"].values():
            hook(self)

    # --- hooks ---------------------------------------------------------------------------------------------------

    def register_step_pre_hook(self, hook: Callable) -> RemovableHandle:
        """`hook(optimizer, args, kwargs) -> (args, kwargs) | None` before a step; args begin with the optimizer."""
        return put(self._pre_hooks, hook)

    def register_step_post_hook(self, hook: Callable) -> RemovableHandle:
        """`hook(optimizer, args, kwargs)` after a step."""
        return put(self._post_hooks, hook)

    def register_state_dict_pre_hook(self, hook: Callable, prepend: bool = False) -> RemovableHandle:
        """`hook(optimizer)` before state_dict."""
        return put(self._state_hooks["before saving"], hook, first=prepend)

    def register_state_dict_post_hook(self, hook: Callable, prepend: bool = False) -> RemovableHandle:
        """`hook(optimizer, state_dict) -> state_dict | None` after state_dict."""
        return put(self._state_hooks["after saving"], hook, first=prepend)

    def register_load_state_dict_pre_hook(self, hook: Callable, prepend: bool = False) -> RemovableHandle:
        """`hook(optimizer, state_dict) -> state_dict | None` before load_state_dict."""
        return put(self._state_hooks["before loading"], hook, first=prepend)

    def register_load_state_dict_post_hook(self, hook: Callable, prepend: bool = False) -> RemovableHandle:
        """`hook(optimizer)` after load_state_dict."""
        return put(self._state_hooks["after loading"], hook, first=prepend)

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for i, group in enumerate(self.param_groups):
            lines += ["", f"Parameter Group {i}"] if i else [f"Parameter Group {i}"]
            lines += [f"    {name}: {group[name]}" for name in sorted(group) if name != "params"]
        return "\n".join([*lines, ")"])


def _taken_over(name: str, value: Any, owner: Tensor) -> Any:
    cast = isinstance(value, Tensor) and owner.is_floating_point() and name != "step"
    return value.to(owner.dtype) if cast else value


def _with_hooks(step: Callable) -> Callable:
    """A step with the hooks registered on its optimizer around it."""

    @functools.wraps(step)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        self: Optimizer = args[0]
        for hook in list(self._pre_hooks.values()):
            returned = hook(self, args, kwargs)
            if returned is None:
                continue
            if not isinstance(returned, tuple) or len(returned) != 2:
                raise RuntimeError(f"{type(self).__name__}.step must return None or a tuple of (new_args, new_kwargs), but "
                                   f"got {returned}.")  # fmt: skip
            args, kwargs = returned
        result = step(*args, **kwargs)
        for hook in list(self._post_hooks.values()):
            hook(self, args, kwargs)
        return result

    return wrapped


Optimizer.step = _with_hooks(Optimizer.step)  # type: ignore[method-assign]


def with_gradients(params: Iterable[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """The parameters that have a gradient, each with it: the others stay bit for bit as they are."""
    return [(p, p._grad) for p in params if p._grad is not None]


def rounded(*tensors: Tensor) -> None:
    """Rounds what was computed in a wider type than the tensors': bfloat16 is kept in float32."""
    for tensor in tensors:
        if tensor.dtype.is_narrow:
            tensor._write(tensor._array)


def real(array: np.ndarray) -> np.ndarray:
    """A complex array as pairs of reals on the same memory; others as they are."""
    return array.view(array.real.dtype) if array.dtype.kind == "c" else array
