"""The jobs part of the Focus guide."""
