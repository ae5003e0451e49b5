"""Request bodies: chunked encoding, and the reasons why a body was not read."""
