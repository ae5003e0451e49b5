"""A test client that fills in forms of our pages with their CSRF token."""

import re
from typing import Any

from django.test import Client

PASSWORD = "alice's password"


class Browser(Client):
    """A client that must send the CSRF token of the form that it fills in."""

    def __init__(self) -> None:
        super().__init__(enforce_csrf_checks=True)

    def fill(self, page: str, form: dict[str, Any], action: str = "") -> Any:
        """Post `form` with the token of `page` to `action`, by default the page."""
        html = self.get(page).content.decode()
        found = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', html)
        assert found, f"no form on {page}"
        token = {"csrfmiddlewaretoken": found[1]}
        return self.post(action or page.partition("?")[0], {**token, **form})

    def sign_in(self, **more: str) -> Any:
        """Sign in as Alice; `more` adds or replaces fields."""
        form = {"email": "alice@example.com", "password": PASSWORD, "intent": "enter"}
        return self.fill("/signin", {**form, **more})

    def sign_in_again(self, **more: str) -> Any:
        """Sign in as Alice again, on the page for a signed-in person."""
        form = {"email": "alice@example.com", "password": PASSWORD, "intent": "enter"}
        return self.fill("/signin?again=1", {**form, "again": "1", **more})
