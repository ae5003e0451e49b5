"""The accounts part of the Focus guide."""
