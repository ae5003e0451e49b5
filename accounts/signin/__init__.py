"""Sign-in and sign-out: passwords, sessions, devices and email ownership."""
