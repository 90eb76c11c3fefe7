"""Derivatives of functions: products with Jacobians and Hessians, and the whole matrices.

Source: torch.autograd.functional.
"""

from reference_engine.autograd.functional.matrices import hessian, jacobian
from reference_engine.autograd.functional.products import hvp, jvp, vhp, vjp

__all__ = ["hessian", "hvp", "jacobian", "jvp", "vhp", "vjp"]
