"""How pages write moments where a template names no format of its own: the admin's."""
