"""Plans: what there is, how one is chosen and paid, and its months' credits."""
