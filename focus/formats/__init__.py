"""Django formats for the admin: templates without a format of their own use these."""
