"""Switches for programs from before broadcasting. Source: torch.utils.backcompat; notes/broadcasting."""

from __future__ import annotations


class _Warning:
    """A switch that can be set. Nothing warns any more: there is no old behaviour left to warn about."""

    enabled = False

    def get_enabled(self) -> bool:
        """Whether it is set."""
        return self.enabled

    def set_enabled(self, value: bool) -> None:
        """Sets it."""
        self.enabled = bool(value)


broadcast_warning, keepdim_warning = _Warning(), _Warning()
