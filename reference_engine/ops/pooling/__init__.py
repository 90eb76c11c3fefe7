"""Pooling: windows.py says where windows lie, maxima.py and averages.py what is made of them, functions.py and more.py are
torch's functions.
"""

from reference_engine.ops.pooling import functions, more

__all__ = ["functions", "more"]
