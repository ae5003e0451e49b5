"""The wallet part of the Focus guide."""
