"""The accounts part of reviv's guide."""
