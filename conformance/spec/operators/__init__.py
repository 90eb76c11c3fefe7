"""Tables of operators (spec/ops/<family>.yaml): each sample becomes ordinary cases, one for each derived check."""

from .table import read_table

__all__ = ["read_table"]
