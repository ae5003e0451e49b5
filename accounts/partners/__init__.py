"""Partner apps: what they are, which tools they offer, and what people let them do."""
