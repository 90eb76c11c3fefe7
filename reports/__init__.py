"""Results in, pages out: everything here is a function of result records alone."""
