"""English formats with ISO dates and an explicit time zone."""
