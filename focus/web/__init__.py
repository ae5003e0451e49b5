"""Around every view: middleware, fallback responses, and paths without a view yet."""
