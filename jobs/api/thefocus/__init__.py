"""The jobs part of the Focus guide, and who its caller is."""
