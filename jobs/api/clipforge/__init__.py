"""The jobs part of ClipForge's guide."""
