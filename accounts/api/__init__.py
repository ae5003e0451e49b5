"""The accounts slice of each public contract, one module a guide."""
