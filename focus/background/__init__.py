"""Background work: beat's schedule, and sweeps that record failures."""
