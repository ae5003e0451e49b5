"""Texts of the admin: titles in words, ISO times in UTC, plain sentences."""

import html
import re
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib import admin
from django.utils import timezone

from accounts.models import App, Mail, User
from accounts.partners import consents
from accounts.signin import sessions
from jobs.models import Endpoint
from payments.models import Pack, Purchase
from tests import webhooks
from tests.doors.staffroom import browser, complete, in_role, start

UUID = re.compile(r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}")
AMERICAN = re.compile(
    r"\b[ap]\.m\.|\b(Jan|Feb|March|Sept|Oct|Nov|Dec)\.? \d{1,2}, \d{4}"
)
NAME = "Tom & Jerry <ü>"


@pytest.fixture
def _rows(alice: User, video: App, give: Callable[..., Any]) -> None:
    """Create rows in many tables, with names that need escaping."""
    give(alice, 20)
    complete(start(alice, video, 5), 3)
    start(alice, video, 2)
    sessions.begin(user=alice, client=NAME, access_seconds=60, methods=["pwd"])
    webhooks.send_test_events(webhooks.register_endpoint(alice))
    Endpoint.objects.update(url="https://hooks.example.com/?a=1&b=2")
    consents.grant(user=alice, app_id=video.pk)
    now = timezone.now()
    Mail.objects.create(
        user=alice,
        to="alice@example.com",
        subject=NAME,
        body="",
        created_at=now,
        due_at=now,
    )
    pack = Pack.objects.order_by("pk")[0]
    Purchase.objects.create(
        account=alice, pack=pack, credits_micro=5_000_000, price_cents=500
    )


@pytest.mark.usefixtures("_rows")
def test_titles_are_words_and_times_are_iso() -> None:
    client = browser(in_role("superuser"))
    seen = 0
    for model in admin.site._registry:
        base = f"/admin/{model._meta.app_label}/{model._meta.model_name}/"
        row = model._default_manager.order_by("pk").last()
        for place in [base, *([f"{base}{row.pk}/change/"] if row else [])]:
            page = client.get(place).content.decode()
            assert "&amp;amp;" not in page, place
            title = re.search(r"<title>(.*?)</title>", page, re.DOTALL)
            assert title, place
            said = html.unescape(" ".join(title[1].split()))
            assert not UUID.search(said), f"{place}: {said}"
            assert "&" not in re.sub(r"Tom & Jerry|a=1&b=2", "", said), said
            text = re.sub(r"<(script|style).*?</\1>", "", page, flags=re.DOTALL)
            found = AMERICAN.search(re.sub(r"<[^>]+>", " ", text))
            assert found is None, f"{place}: {found}"
            seen += row is not None
    assert seen > 25


@pytest.mark.usefixtures("_rows")
def test_a_time_has_its_zone_and_a_list_its_name() -> None:
    client = browser(in_role("superuser"))
    page = client.get("/admin/accounts/mail/").content.decode()
    assert re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", page)
    assert "<title> Mails | Focus</title>" in page


def test_an_empty_list_says_no_results(db: None) -> None:
    client = browser(in_role("superuser"))
    for model in admin.site._registry:
        base = f"/admin/{model._meta.app_label}/{model._meta.model_name}/"
        page = client.get(base, {"q": "nothing-is-called-so"}).content.decode()
        if not client.get(base).context["cl"].search_fields:
            continue
        assert "No results" in page, base
        assert "yielded" not in page, base
    fresh = client.get("/admin/accounts/consent/").content.decode()
    assert "No consents yet." in fresh


NUL = "a\x00b"


class TestHostileInput:
    """Input that no page of ours sends is a 400, a redirect or a form error."""

    def test_filters_searches_and_pages(self, db: None) -> None:
        client = browser(in_role("superuser"))
        client.raise_request_exception = False
        for model, page in admin.site._registry.items():
            base = f"/admin/{model._meta.app_label}/{model._meta.model_name}/"
            names = {"q", "o", "p", "e", "all", "_to_field", "_popup", NUL}
            names |= set(page.lookups)  # type: ignore[attr-defined]
            for item in page.get_list_filter(None):  # type: ignore[arg-type]
                if isinstance(item, type):
                    names.add(str(item.parameter_name))  # type: ignore[attr-defined]
                else:
                    path = str(item[0] if isinstance(item, tuple) else item)
                    names |= {path, f"{path}__exact", f"{path}__isnull"}
                    names |= {f"{path}__id__exact", f"{path}__isempty"}
            for name in names:
                for value in (NUL, "x", "9" * 30):
                    asked = {name: value.encode(errors="surrogatepass")}
                    status = client.get(base, asked).status_code
                    assert status in (200, 302, 400), (base, name, value)

    @pytest.mark.parametrize(
        "asked",
        [
            {"year": "99999999999999999999"},
            {"year": "9999", "month": "12"},
            {"year": "0"},
            {"month": "13"},
            {"year": "2026", "month": "2", "day": "31"},
            {"day": "99"},
            {"year": NUL},
        ],
    )
    @pytest.mark.usefixtures("_rows")
    def test_invalid_dates_are_refused(self, asked: dict[str, str]) -> None:
        client = browser(in_role("superuser"))
        for place, field in (
            ("/admin/wallet/entry/", "booked_at"),
            ("/admin/jobs/job/", "created_at"),
        ):
            query = {f"{field}__{part}": value for part, value in asked.items()}
            assert client.get(place, query).status_code in (200, 302, 400)

    def test_rows_and_actions(self, db: None) -> None:
        client = browser(in_role("superuser"))
        for model in admin.site._registry:
            base = f"/admin/{model._meta.app_label}/{model._meta.model_name}/"
            for value in (NUL, "x", "9" * 30):
                for action in ("revoke", "close", "delete_selected"):
                    bulk = {"action": action, "_selected_action": value, "index": "0"}
                    answer = client.post(base, bulk)
                    assert answer.status_code in (200, 302, 400, 403), (base, bulk)
                if value:
                    for page in ("change", "history", "delete"):
                        answer = client.get(f"{base}{value}/{page}/")
                        assert answer.status_code in (200, 302, 400, 403, 404)

    def test_forms(self, alice: User, video: App) -> None:
        client = browser(in_role("superuser"))
        for model in admin.site._registry:
            base = f"/admin/{model._meta.app_label}/{model._meta.model_name}/"
            row = model._default_manager.order_by("pk").first()
            names = [field.name for field in model._meta.fields]
            names += ["starter_credits", "price", "permissions", "groups"]
            for value in (NUL, '{"a": "\\u0000"}', "9" * 40):
                filled = dict.fromkeys(names, value)
                for place in ["add/", *([f"{row.pk}/change/"] if row else [])]:
                    answer = client.post(f"{base}{place}", filled)
                    assert answer.status_code in (200, 400, 403, 404), (base, value)

    def test_views_of_the_site_itself(self, db: None) -> None:
        client = browser(in_role("superuser"))
        for place in (
            "/admin/search/?s=a&page=x",
            "/admin/search/?s=%00&extended=1",
            "/admin/autocomplete/?term=%00&app_label=accounts&model_name=app"
            "&field_name=owner",
            "/admin/r/1/x/",
            "/admin/password_change/",
            "/admin/jsi18n/",
        ):
            assert client.get(place).status_code in (200, 302, 400, 404), place
        answer = client.get("/admin/password_change/")
        assert answer["Location"] == "/security"
