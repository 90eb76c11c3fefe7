"""Whether a program stays inside the language: a subset of Python by syntax tree, and names from the vocabulary.

The check keeps honest files honest, and strangers' files to the vocabulary. It is not a sandbox: files from strangers
are run in a worker with limits.
"""

from .controls import missing_controls
from .program import Checked, Problem, check
from .vocabulary import Vocabulary, parse, read_vocabulary

__all__ = ["Checked", "Problem", "Vocabulary", "check", "missing_controls", "parse", "read_vocabulary"]
