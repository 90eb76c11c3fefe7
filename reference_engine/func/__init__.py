"""torch.func: functions in, functions or derivatives out. Source: torch docs, torch.func."""

from __future__ import annotations

from reference_engine.func.forward import jvp
from reference_engine.func.functional_call import functional_call

__all__ = ["functional_call", "jvp"]
