"""The accounts part of Cosmiv's guide."""
