"""A module's state by name: parameters and persistent buffers, "child.weight" for a child's. Source: Module.state_dict."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from reference_engine.autograd.grad_mode import no_grad
from reference_engine.nn.modules.hooks import put
from reference_engine.nn.parameter import Parameter
from reference_engine.tensor import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable

    from reference_engine.tape.node import RemovableHandle

EXTRA = "_extra_state"
STATE_HOOKS = ("before saving", "after saving", "before loading", "after loading")


class _IncompatibleKeys(namedtuple("_IncompatibleKeys", ["missing_keys", "unexpected_keys"])):
    """What load_state_dict found missing and superfluous."""

    __slots__ = ()

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return super().__repr__()


class StateDict(OrderedDict):
    """An ordered dict that also carries each module's version of the format."""

    _metadata: OrderedDict


class Stateful:
    """The part of Module that gives and takes its state."""

    _parameters: dict[str, Any]
    _buffers: dict[str, Any]
    _modules: dict[str, Any]
    _non_persistent_buffers_set: set[str]
    _state_hooks: dict[str, OrderedDict]
    _version: int | None = 1

    def _start_state_hooks(self) -> None:
        self.__dict__["_state_hooks"] = {place: OrderedDict() for place in STATE_HOOKS}

    def _own_state(self) -> dict[str, Tensor]:
        """This module's own parameters and persistent buffers."""
        hidden = self._non_persistent_buffers_set
        own = {**self._parameters, **{k: v for k, v in self._buffers.items() if k not in hidden}}
        return {name: value for name, value in own.items() if value is not None}

    def get_extra_state(self) -> Any:
        """What else a subclass keeps in its state_dict, under "_extra_state"; it defines set_extra_state too."""
        raise RuntimeError(f"{type(self).__name__} has no extra state: it does not define get_extra_state")

    def set_extra_state(self, state: Any) -> None:
        """Takes back what get_extra_state gave."""
        raise RuntimeError(f"{type(self).__name__} takes no extra state: it does not define set_extra_state")

    # --- out -----------------------------------------------------------------------------------------------------

    def state_dict(self, *, destination: Any = None, prefix: str = "", keep_vars: bool = False) -> Any:
        """The state by name: aliases without history, or the tensors themselves with keep_vars."""
        if destination is None:
            destination = StateDict()
            destination._metadata = OrderedDict()
        local_metadata = {"version": self._version}
        if hasattr(destination, "_metadata"):
            destination._metadata[prefix[:-1]] = local_metadata
        for hook in self._state_hooks["before saving"].values():
            hook(self, prefix, keep_vars)
        self._save_to_state_dict(destination, prefix, keep_vars)
        for name, child in self._modules.items():
            if child is not None:
                child.state_dict(destination=destination, prefix=f"{prefix}{name}.", keep_vars=keep_vars)
        for hook in self._state_hooks["after saving"].values():
            if hook(self, destination, prefix, local_metadata) is not None:
                raise RuntimeError("state_dict post-hook must return None")
        return destination

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        """Writes this module's own state, without its children's. A subclass may write more."""
        for name, value in self._own_state().items():
            destination[prefix + name] = value if keep_vars else value.detach()
        if type(self).get_extra_state is not Stateful.get_extra_state:
            destination[prefix + EXTRA] = self.get_extra_state()

    # --- in ------------------------------------------------------------------------------------------------------

    def load_state_dict(self, state_dict: Mapping, strict: bool = True, assign: bool = False) -> _IncompatibleKeys:
        """Copies the values in. Missing or superfluous keys are an error where strict; a wrong shape always is."""
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"Expected state_dict to be dict-like, got {type(state_dict)}.")
        state = OrderedDict(state_dict)
        keys, errors = _IncompatibleKeys([], []), []  # type: ignore[var-annotated]
        self._load_tree(state, "", getattr(state_dict, "_metadata", {}), assign, keys, errors)
        if strict:
            named = [", ".join(f'"{key}"' for key in found) for found in keys]
            errors[:0] = [f"{words} key(s) in state_dict: {names}. "
                          for words, names in zip(("Missing", "Unexpected"), named, strict=True) if names]  # fmt: skip
        if errors:
            text = "\n\t".join(errors)
            raise RuntimeError(f"Error(s) in loading state_dict for {type(self).__name__}:\n\t{text}")
        return keys

    def _load_tree(self, state: dict, prefix: str, metadata: Mapping, assign: bool, keys: _IncompatibleKeys,
                   errors: list[str]) -> None:  # fmt: skip
        """Loads this module, then its children; keys and errors collect what went wrong."""
        local_metadata = {**metadata.get(prefix[:-1], {}), **({"assign_to_params_buffers": True} if assign else {})}
        self._load_from_state_dict(state, prefix, local_metadata, True, *keys, errors)
        for name, child in self._modules.items():
            if child is not None:
                inner = f"{prefix}{name}."
                own = OrderedDict((key, value) for key, value in state.items() if key.startswith(inner))
                child._load_tree(own, inner, metadata, assign, keys, errors)
        for hook in self._state_hooks["after loading"].values():
            hook(self, keys)

    def _load_from_state_dict(self, state_dict: dict, prefix: str, local_metadata: dict, strict: bool,
                              missing_keys: list[str], unexpected_keys: list[str], error_msgs: list[str]) -> None:  # fmt: skip
        """Loads this module's own state, without its children's. A subclass may rename keys of `state_dict` first."""
        for hook in self._state_hooks["before loading"].values():
            hook(self, state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs)
        own = self._own_state()
        for name, present in own.items():
            key = prefix + name
            if key in state_dict:
                self._load_one(name, key, present, state_dict[key], local_metadata, error_msgs)
            elif strict:
                missing_keys.append(key)
        extra = type(self).set_extra_state is not Stateful.set_extra_state
        if extra and prefix + EXTRA in state_dict:
            self.set_extra_state(state_dict[prefix + EXTRA])
        elif extra and strict:
            missing_keys.append(prefix + EXTRA)
        for key in state_dict if strict else ():
            if key.startswith(prefix):
                head, dot, _ = key[len(prefix) :].partition(".")
                known = head in self._modules if dot else head in own or (extra and head == EXTRA)
                if not known:
                    unexpected_keys.append(key)

    def _load_one(
        self, name: str, key: str, present: Tensor, value: Any, local_metadata: dict, errors: list[str]
    ) -> None:
        """Copies (or assigns) one tensor; a mismatch is noted."""
        if not isinstance(value, Tensor):
            errors.append(f'While copying the parameter named "{key}", expected torch.Tensor or Tensor-like object '
                          f"from checkpoint but received {type(value)}")  # fmt: skip
            return
        if present.ndim == 0 and value.shape == (1,):
            value = value[0]
        if value.shape != present.shape:
            errors.append(f"size mismatch for {key}: copying a param with shape {value.shape} from checkpoint, the "
                          f"shape in current model is {present.shape}.")  # fmt: skip
            return
        with no_grad():
            if not local_metadata.get("assign_to_params_buffers"):
                present.copy_(value)
            elif isinstance(present, Parameter) and not isinstance(value, Parameter):
                setattr(self, name, Parameter(value, requires_grad=present.requires_grad))
            else:
                if isinstance(present, Parameter):
                    value.requires_grad_(present.requires_grad)
                setattr(self, name, value)

    # --- hooks ---------------------------------------------------------------------------------------------------

    def register_state_dict_pre_hook(self, hook: Callable) -> RemovableHandle:
        """`hook(module, prefix, keep_vars)` before state_dict. Source: Module.register_state_dict_pre_hook."""
        return put(self._state_hooks["before saving"], hook)

    def register_state_dict_post_hook(self, hook: Callable) -> RemovableHandle:
        """`hook(module, state_dict, prefix, local_metadata)` after it; may change state_dict in place."""
        return put(self._state_hooks["after saving"], hook)

    def register_load_state_dict_pre_hook(self, hook: Callable) -> RemovableHandle:
        """`hook(module, state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs)`."""
        return put(self._state_hooks["before loading"], hook)

    def register_load_state_dict_post_hook(self, hook: Callable) -> RemovableHandle:
        """`hook(module, incompatible_keys)` after a module and its children; may change the keys in place."""
        return put(self._state_hooks["after loading"], hook)
