"""Anomaly detection's switches. Source: torch.autograd.detect_anomaly, set_detect_anomaly."""

from __future__ import annotations

import warnings

from reference_engine.state import process, state


def _set(mode: bool, check_nan: bool) -> None:
    state.anomaly, state.anomaly_check_nan = mode, check_nan
    process.anomaly, process.anomaly_check_nan = mode, check_nan
    state.refresh()


class detect_anomaly:
    """Records where each node was made, and stops at the first nan that backward produces."""

    def __init__(self, check_nan: bool = True) -> None:
        self.check_nan = check_nan
        warnings.warn("Anomaly Detection has been enabled. This mode will increase the runtime and should only be enabled "
                      "for debugging.", stacklevel=2)  # fmt: skip

    def __enter__(self) -> None:
        self.before = state.anomaly, state.anomaly_check_nan
        _set(True, self.check_nan)

    def __exit__(self, *exc: object) -> None:
        _set(*self.before)


class set_detect_anomaly:
    """Switches anomaly detection at once; as a context manager restores it."""

    def __init__(self, mode: bool, check_nan: bool = True) -> None:
        self.before = state.anomaly, state.anomaly_check_nan
        _set(mode, check_nan)

    def __enter__(self) -> None:
        """Set already."""

    def __exit__(self, *exc: object) -> None:
        _set(*self.before)


def is_anomaly_enabled() -> bool:
    """Whether anomaly detection is on. Source: torch.is_anomaly_enabled."""
    return state.anomaly


def is_anomaly_check_nan_enabled() -> bool:
    """Whether it looks for nan. Source: torch.is_anomaly_check_nan_enabled."""
    return state.anomaly_check_nan
