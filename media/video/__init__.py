"""Videos: what an upload is, and which of its moments are worth a clip."""
