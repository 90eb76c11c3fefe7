"""torch.fx.experimental: where make_fx is found."""

from reference_engine.fx.experimental import proxy_tensor

__all__ = ["proxy_tensor"]
