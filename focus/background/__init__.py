"""Background work: what beat starts, how sweeps record failures, and nudges."""
