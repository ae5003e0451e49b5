"""Around every view: middleware, fallback answers, and unbuilt addresses."""
