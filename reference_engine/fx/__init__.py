"""torch.fx as far as make_fx needs it: a function as a graph of the operators that it calls. Source: torch.fx.

A graph is a list of nodes (graph.py). tracing.py makes one by running a function; functionalization.py writes one anew
without changes in place.
"""

from __future__ import annotations

from reference_engine.fx import experimental
from reference_engine.fx.graph import Graph, GraphModule, Node

__all__ = ["Graph", "GraphModule", "Node", "experimental"]
