"""Pages that sign a person in or recover an account."""
