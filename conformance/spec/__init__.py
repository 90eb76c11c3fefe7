"""The specification: YAML chapters read, checked, and made into cases that are ready to run.

`load()` is the way in. A second load of unchanged files comes from a cache and imports neither PyYAML nor jsonschema.
"""

from .loading import load
from .specification import Chapter, Specification

__all__ = ["Chapter", "Specification", "load"]
