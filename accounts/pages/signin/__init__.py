"""The pages that sign a person in, and those that recover an account."""
