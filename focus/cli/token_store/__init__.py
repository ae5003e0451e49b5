"""Where a sign-in of the command line is kept: a private file or the keyring."""
