"""A browser for tests of our pages: it fills in forms, and shows their token."""

import re
from typing import Any

from django.test import Client

PASSWORD = "alice's password"


class Browser(Client):
    """A client that, like a browser, must show the token of the form it fills in."""

    def __init__(self) -> None:
        super().__init__(enforce_csrf_checks=True)

    def fill(self, page: str, form: dict[str, Any], action: str = "") -> Any:
        html = self.get(page).content.decode()
        found = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', html)
        assert found, f"no form on {page}"
        token = {"csrfmiddlewaretoken": found[1]}
        return self.post(action or page.partition("?")[0], {**token, **form})

    def sign_in(self, **more: str) -> Any:
        form = {"email": "alice@example.com", "password": PASSWORD, "intent": "enter"}
        return self.fill("/signin", {**form, **more})

    def sign_in_again(self, **more: str) -> Any:
        """As `sign_in`, for a person who is signed in and is asked once more."""
        form = {"email": "alice@example.com", "password": PASSWORD, "intent": "enter"}
        return self.fill("/signin?again=1", {**form, "again": "1", **more})
