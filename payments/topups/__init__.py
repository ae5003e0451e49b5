"""Automatic top-ups: how an owner sets them, when they charge, and what came of it."""
