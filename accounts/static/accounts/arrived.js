// A ticket in the address bar is a secret for a minute: it need not stay there.
history.replaceState(null, "", location.pathname);
