"""Ways back into an account: mailed links, a new password, and the purge after."""
