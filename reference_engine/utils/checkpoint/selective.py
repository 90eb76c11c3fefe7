"""Selective checkpointing: a policy says per operator whether its result is kept or computed again.

Law: the k-th time an operator runs in the second run is the k-th time it ran in the first. What was kept is given once.
Source: torch.utils.checkpoint.create_selective_checkpoint_contexts.
"""

from __future__ import annotations

import enum
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from reference_engine.ops.dispatch import OpOverload, OpOverloadPacket
from reference_engine.tensor import Tensor
from reference_engine.utils._python_dispatch import TorchDispatchMode

BACKWARD_ONCE = (
    "Trying to backward an extra time. You are only allowed to backward once on any region computed under selective "
    "activation checkpoint."
)
PACKET = (
    " Please update the OpOverloadPacket to a specific OpOverload. For example, if you have `torch.ops.aten.mm`, change it "
    "to `torch.ops.aten.mm.default`."
)
MUTATED = (
    "Tensor cached during selective activation checkpoint has been mutated. If you are sure that this is safe, you can "
    "bypass this error by passing `allow_cache_entry_mutation=True` when creating the selective activation checkpoint."
)


class CheckpointPolicy(enum.Enum):
    """What becomes of an operator's result. MUST leaves a compiler no choice; without one both kinds say the same.

    Source: torch.utils.checkpoint.CheckpointPolicy.
    """

    MUST_SAVE = 0
    PREFER_SAVE = 1
    MUST_RECOMPUTE = 2
    PREFER_RECOMPUTE = 3
    MUST_CPU_OFFLOAD = 4  # kept in the CPU's memory, where this engine's tensors are anyway
    PREFER_CPU_OFFLOAD = 5


COMPUTING = (CheckpointPolicy.MUST_RECOMPUTE, CheckpointPolicy.PREFER_RECOMPUTE)
SAVING = frozenset(CheckpointPolicy) - frozenset(COMPUTING)
RECOMPUTE, CONSUMED = object(), object()


class SelectiveCheckpointContext:
    """What a policy is told beside the operator. Source: torch.utils.checkpoint.SelectiveCheckpointContext."""

    def __init__(self, *, is_recompute: bool, op_output: Any = None) -> None:
        self.is_recompute, self.op_output = is_recompute, op_output


class Kept:
    """A tensor that was kept, and its version then."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor, self.version = tensor.detach(), tensor._version_counter().version

    def value(self, *, mutable: bool) -> Tensor:
        """The tensor; an error where it was changed meanwhile, unless that is allowed."""
        if not mutable and self.tensor._version_counter().version != self.version:
            raise RuntimeError(MUTATED)
        return self.tensor


def _each(function: Callable, kind: type, value: Any) -> Any:
    """A result with `function` applied to what is of `kind` in it."""
    if isinstance(value, (tuple, list)):
        return tuple(_each(function, kind, v) for v in value)
    return function(value) if isinstance(value, kind) else value


class Keeping(TorchDispatchMode):
    """Around the first run: asks the policy, and keeps."""

    def __init__(self, policy: Callable) -> None:
        self.policy = policy
        self.entries: dict[OpOverload, list[Any]] = defaultdict(list)

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        answer = self.policy(SelectiveCheckpointContext(is_recompute=False, op_output=result), func, *args, **kwargs)
        keep = answer if isinstance(answer, bool) else answer in SAVING
        self.entries[func].append(_each(Kept, Tensor, result) if keep else RECOMPUTE)
        return result


class Giving(TorchDispatchMode):
    """Around the second run: what was kept is the result, everything else is computed."""

    def __init__(self, entries: dict[OpOverload, list[Any]], *, mutable: bool) -> None:
        self.entries, self.mutable = entries, mutable
        self.counts: dict[OpOverload, int] = defaultdict(int)

    def __enter__(self) -> Giving:
        self.counts = defaultdict(int)
        return super().__enter__()

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None) -> Any:
        number, self.counts[func] = self.counts[func], self.counts[func] + 1
        entries = self.entries.get(func, ())
        entry = entries[number] if number < len(entries) else RECOMPUTE
        if entry is RECOMPUTE:
            return func(*args, **(kwargs or {}))
        if entry is CONSUMED:
            raise RuntimeError(BACKWARD_ONCE)
        result = _each(lambda kept: kept.value(mutable=self.mutable), Kept, entry)
        entries[number] = CONSUMED  # type: ignore[index]
        return result


def create_selective_checkpoint_contexts(
    policy_fn_or_list: Any, allow_cache_entry_mutation: bool = False
) -> tuple[TorchDispatchMode, TorchDispatchMode]:
    """What context_fn returns for selective checkpointing; the policy is a function, or a list of operators to keep.

    Raises TypeError for another policy, ValueError for a list with something else than operator overloads.
    Source: torch.utils.checkpoint.create_selective_checkpoint_contexts.
    """
    if isinstance(policy_fn_or_list, list):
        policy = _listed(policy_fn_or_list)
    elif callable(policy_fn_or_list):
        policy = policy_fn_or_list
    else:
        raise TypeError("policy_fn_or_list must be either a function or a list of ops.")
    keeping = Keeping(policy)
    return keeping, Giving(keeping.entries, mutable=allow_cache_entry_mutation)


def _listed(ops: list[Any]) -> Callable:
    """The policy that keeps what these operators give."""
    for op in ops:
        if not isinstance(op, OpOverload):
            hint = PACKET if isinstance(op, OpOverloadPacket) else ""
            raise ValueError(f"Expected op in `op_list` to be an OpOverload but got: {op} of type {type(op)}.{hint}")
    kept = frozenset(ops)

    def policy(ctx: SelectiveCheckpointContext, op: OpOverload, *args: Any, **kwargs: Any) -> CheckpointPolicy:
        return CheckpointPolicy.MUST_SAVE if op in kept else CheckpointPolicy.PREFER_RECOMPUTE

    return policy
