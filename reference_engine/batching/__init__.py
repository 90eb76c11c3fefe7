"""vmap's mechanism: batched tensors, and the rules by which operators take them. Read tensor.py first."""
