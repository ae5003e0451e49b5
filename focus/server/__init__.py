"""The web server: uvicorn reads HTTP, threads run Django, this package connects them.

protocol   limits on connections: how many per address, how long a head may take
bridge     one request: from uvicorn to a WSGI thread and back
body       wsgi.input: a body while it arrives, within its deadlines
threads    how many requests run at once, and how many may wait for a slow client
refusals   responses that no view writes: 400, 408, 414, 429, 431 and 503
environ    the WSGI environment of a request

`python -m focus.server` starts it; decision 0026 says why.
"""
