"""The tape: nodes recorded by operators, saved tensors with their version checks, views, and the backward pass."""
