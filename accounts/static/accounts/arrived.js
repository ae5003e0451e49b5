// The ticket in the address is a secret for a minute, so remove it from the history.
history.replaceState(null, "", location.pathname);
