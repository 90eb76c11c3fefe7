"""The conformance kit for autograd: loads the specification, runs it on engines, judges what they leave behind.

Importing this package imports neither torch nor any engine.
"""

__version__ = "0.1.0"
