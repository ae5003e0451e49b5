"""Rate limits: the sliding window, the policies, and the client's address."""
