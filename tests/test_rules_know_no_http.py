"""Rules do not import Django's HTTP layer; doors translate HTTP for them.

Import-linter cannot forbid a subpackage of an external package, so this test reads the
imports itself. It covers each new file of an app without a list to edit.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
APPS = ["accounts", "wallet", "jobs", "payments"]
# The first folder or file below an app. All other files are rules or models.
DOORS = {"api", "admin", "pages", "tasks", "management", "apps"}
HTTP = {
    "django.http",
    "django.shortcuts",
    "django.template",
    "django.urls",
    "django.views",
}
# Rule files that may import HTTP, each with its reason.
EXCEPTIONS = {
    "accounts/authentication.py": "reads the credential and the visitor of a request",
    "accounts/same_site.py": "compares a request's Origin with our own site",
    "accounts/links/cookie.py": "the API and the pages share this cookie",
    "accounts/providers/clerk_cookie.py": "authentication reads Clerk's cookie",
    "accounts/providers/oauth_cookie.py": "the API and the pages share this cookie",
}


def rule_files() -> list[Path]:
    return [
        file
        for app in APPS
        for file in sorted((ROOT / app).rglob("*.py"))
        if room(file.relative_to(ROOT / app)) not in DOORS | {"migrations"}
    ]


def room(inside: Path) -> str:
    """Return the first folder or module: `api` for api/reviv/auth.py, `tasks`."""
    return Path(inside.parts[0]).stem


def imported(source: str) -> Iterator[str]:
    """Yield each module of an absolute import, also of imports inside functions."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            # `from django import http` names its module only in the alias.
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def http_imports(source: str) -> set[str]:
    return {
        name
        for name in imported(source)
        if any(name == module or name.startswith(f"{module}.") for module in HTTP)
    }


@pytest.mark.parametrize(
    "file", rule_files(), ids=lambda file: str(file.relative_to(ROOT))
)
def test_a_rule_imports_no_http(file: Path) -> None:
    found = http_imports(file.read_text())
    if str(file.relative_to(ROOT)) in EXCEPTIONS:
        assert found, "this file imports no HTTP now: remove its exception"
    else:
        assert not found, "rules know no HTTP: move this code to a door"


def test_each_exception_is_a_rule_file() -> None:
    files = {str(file.relative_to(ROOT)) for file in rule_files()}
    assert set(EXCEPTIONS) <= files


@pytest.mark.parametrize(
    "source",
    [
        "import django.http",
        "import django.urls as urls",
        "from django import shortcuts",
        "from django.http import HttpRequest",
        "from django.http.response import HttpResponseBase",
        "from django.template.loader import render_to_string",
        "from django.views.decorators.csrf import csrf_exempt",
        "def later():\n    from django.urls import reverse",
        "if TYPE_CHECKING:\n    from django.http import HttpRequest",
    ],
)
def test_every_spelling_of_an_http_import_is_found(source: str) -> None:
    assert http_imports(source)


@pytest.mark.parametrize(
    "source",
    [
        "from http import HTTPStatus",
        "from django.db import models",
        "from django.utils.http import urlencode",
        "from . import http",
        "import requests",
    ],
)
def test_other_imports_are_allowed(source: str) -> None:
    assert not http_imports(source)
