"""A module called with other tensors in place of its parameters and buffers. Source: torch.func.functional_call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reference_engine.state import state

if TYPE_CHECKING:
    from reference_engine.nn import Module
    from reference_engine.tensor import Tensor

ABSENT = object()
TIED = "functional_call got multiple values for keys {names}, which are tied. Consider using tie_weights=False"


def functional_call(module: Module, parameter_and_buffer_dicts: Any, args: Any = None, kwargs: dict[str, Any] | None = None,
                    *, tie_weights: bool = True, strict: bool = False) -> Any:  # fmt: skip
    """module(*args, **kwargs) with the given tensors in place of its own, which it has back afterwards.

    parameter_and_buffer_dicts: a dict from qualified names to tensors, or a sequence of such with distinct keys. What the
    call puts in a buffer's place is in the dict afterwards. tie_weights: names that share one tensor are replaced together.
    strict: the names have to be exactly those of the module. args that are no tuple are one argument.
    Source: torch.func.functional_call.
    """
    given = _merged(parameter_and_buffer_dicts)
    own = _named(module)
    wanted = {name: value for name, value in given.items() if name in own}
    if tie_weights:
        wanted = _tied(wanted, own)
    if strict:
        _check_names(type(module).__name__, {**given, **wanted}, own)
    _check_given(module, given)
    wanted.update({name: value for name, value in given.items() if name not in own and _is_known(module, name)})
    places = {name: _place(module, name) for name in wanted}
    before = {name: store.get(key, ABSENT) for name, (store, key) in places.items()}
    try:
        for name, (store, key) in places.items():
            store[key] = wanted[name]
        positional = () if args is None else args if isinstance(args, tuple) else (args,)
        return module(*positional, **(kwargs or {}))
    finally:
        for name, (store, key) in places.items():
            if name in given:
                given[name] = store.get(key, given[name])
            if before[name] is ABSENT:
                store.pop(key, None)
            else:
                store[key] = before[name]
        if isinstance(parameter_and_buffer_dicts, dict):
            parameter_and_buffer_dicts.update({name: given[name] for name in places if name in given})


def _merged(dicts: Any) -> dict[str, Tensor]:
    if isinstance(dicts, dict):
        return dict(dicts)
    if not isinstance(dicts, (tuple, list)):
        raise ValueError(
            f"Expected parameter_and_buffer_dicts to be a dict, or a list/tuple of dicts, but got {type(dicts)}"
        )
    if not all(isinstance(d, dict) for d in dicts):
        raise ValueError("Expected all elements of parameter_and_buffer_dicts to be dictionaries")
    names = [name for d in dicts for name in d]
    repeated = {name for name in names if names.count(name) > 1}
    if repeated:
        raise ValueError(f"{repeated} appeared in multiple dictionaries; behavior of functional call is ambiguous")
    return {name: value for d in dicts for name, value in d.items()}


def _check_given(module: Module, given: dict) -> None:
    """Raises where a value is no tensor, or a name leads through a submodule that there is not."""
    from reference_engine.tensor import Tensor

    for name, value in given.items():
        if value is not None and not isinstance(value, Tensor):
            raise TypeError(f"{value} is not an instance of torch.Tensor")
        owner: Any = module
        for part in name.split(".")[:-1]:
            if part not in owner._modules:
                raise AttributeError(f"{type(owner).__name__} has no attribute `{part}`")
            owner = owner._modules[part]


def _named(module: Module) -> dict[str, Tensor]:
    """All parameters and buffers by qualified name, tied ones under each of their names."""
    return {
        **dict(module.named_parameters(remove_duplicate=False)),
        **dict(module.named_buffers(remove_duplicate=False)),
    }


def _check_names(owner: str, given: dict, own: dict) -> None:
    missing, unexpected = [n for n in own if n not in given], [n for n in given if n not in own]
    if not missing and not unexpected:
        return
    parts = [f"Unexpected key(s): {', '.join(map(repr, unexpected))}."] * bool(unexpected)
    parts += [f"Missing key(s): {', '.join(map(repr, missing))}."] * bool(missing)
    raise RuntimeError(f"Error(s) in reparametrizing for {owner}:\n\t" + "\n\t".join(parts))


def _tied(wanted: dict[str, Tensor], own: dict[str, Tensor]) -> dict[str, Tensor]:
    """The replacements, extended to the other names of tied tensors."""
    result = dict(wanted)
    for name, tensor in own.items():
        group = [other for other in own if own[other] is tensor]
        values = [wanted[other] for other in group if other in wanted]
        if any(not _same(values[0], value) for value in values[1:]):
            raise ValueError(TIED.format(names=sorted(n for n in group if n in wanted)))
        if values:
            result[name] = wanted.get(name, values[0])
    return result


def _same(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors are one, or have the same values. Values that differ between examples cannot be compared."""
    if a is b or state.vmap_levels:
        return a is b
    return a.shape == b.shape and a.dtype is b.dtype and bool((a._array == b._array).all())


def _is_known(module: Module, name: str) -> bool:
    """Whether a dotted name without a tensor is one that a parametrization computes, or was registered with None."""
    path, _, key = name.rpartition(".")
    owner: Any = module.get_submodule(path) if path else module
    return key in owner._parameters or key in owner._buffers or _is_parametrized(owner, key)


def _is_parametrized(owner: Any, key: str) -> bool:
    """Whether a parametrization computes the tensor of that name."""
    return key in owner._modules.get("parametrizations", ())


def _place(module: Module, name: str) -> tuple[dict, str]:
    """Where a tensor of that qualified name is kept."""
    path, _, key = name.rpartition(".")
    owner: Any = module.get_submodule(path) if path else module
    if _is_parametrized(owner, key):
        return owner._replaced, key  # the parametrization does not run
    return (owner._parameters if key in owner._parameters else owner._buffers), key
