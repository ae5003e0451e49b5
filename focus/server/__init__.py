"""The web server: uvicorn reads HTTP, threads run Django, this package is between.

protocol   limits on a connection: how many an address has, how long a head may take
bridge     one request: from uvicorn to a WSGI thread and back
body       wsgi.input: a body as it arrives, within its deadlines
threads    how many requests run at once, and how many may wait for a slow client
refusals   the answers that no view gives: 400, 408, 414, 429, 431 and 503
environ    the WSGI environment of a request

`python -m focus.server` starts it; decision 0026 says why.
"""
