"""Rate limits: the sliding window, the policies, and the address of a request."""
