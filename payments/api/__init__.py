"""The payments slice of each public contract, one module a guide."""
