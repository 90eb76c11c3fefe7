"""torch.func: functions in, functions or derivatives out. Source: torch docs, torch.func."""

from __future__ import annotations

from reference_engine.func.ensembles import debug_unwrap, replace_all_batch_norm_modules_, stack_module_state
from reference_engine.func.forward import jvp
from reference_engine.func.functional_call import functional_call
from reference_engine.func.functionalize import functionalize
from reference_engine.func.jacobians import hessian, jacfwd, jacrev, linearize
from reference_engine.func.mapping import vmap
from reference_engine.func.reverse import grad, grad_and_value, vjp

__all__ = [
    "debug_unwrap", "functional_call", "functionalize", "grad", "grad_and_value", "hessian", "jacfwd", "jacrev", "jvp",
    "linearize", "replace_all_batch_norm_modules_", "stack_module_state", "vjp", "vmap",
]  # fmt: skip
