"""manage.py create_app and demo."""

import json
import re
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings
from rest_framework.test import APIClient

from accounts.credentials import app_keys
from accounts.models import App, AppKey, SecurityEvent, User
from accounts.signin import passwords
from focus.money import MICRO
from wallet.models import Entry


def run(*arguments: str) -> str:
    out = StringIO()
    call_command(*arguments, stdout=out)
    return out.getvalue()


def test_create_app_prints_the_key_once(alice: User) -> None:
    said = run(
        "create_app",
        "photo-lab",
        "--name=Photo Lab",
        "--owner=ALICE@example.com",
        "--starter-credits=20.5",
        "--origin=https://photo.example.com",
        "--origin=http://localhost:5173/",
        "--json",
    )
    facts = json.loads(said)
    app = App.objects.get()
    assert facts == {
        "id": str(app.pk),
        "slug": "photo-lab",
        "name": "Photo Lab",
        "owner": "alice@example.com",
        "starter_credits": 20.5,
        "origins": ["https://photo.example.com", "http://localhost:5173"],
        "api_key": facts["api_key"],
    }
    assert app.owner == alice
    assert app.starter_credits_micro == 20_500_000
    assert app_keys.find(secret=facts["api_key"]).app == app
    client = APIClient(headers={"Authorization": f"Bearer {facts['api_key']}"})
    assert client.get("/api/jobs").status_code == 200
    kinds = SecurityEvent.objects.order_by("id").values_list("kind", flat=True)
    assert list(kinds) == ["app_created", "app_key_issued"]


def test_create_app_sets_how_its_jobs_are_settled(db: None) -> None:
    run(
        "create_app",
        "photo-lab",
        "--overage-policy=reject",
        "--settle-with-app-key-only",
        "--max-ttl-seconds=600",
        "--starter-credits-at=any",
    )
    app = App.objects.get()
    assert app.starter_credits_at == "any"
    assert app.overage_policy == "reject"
    assert app.settle_with_app_key_only
    assert app.max_ttl_seconds == 600


def test_create_app_prints_sentences_by_default(db: None) -> None:
    said = run("create_app", "photo-lab")
    assert "Registered Photo lab (photo-lab)." in said
    assert f"…{AppKey.objects.get().last4}"[-4:] in said
    assert "cannot be shown again" in said


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["video"], "There is already an app 'video'."),
        (["Bad Slug"], "A slug has at most 64"),
        (["new", "--origin=https://x.example/path"], "is not an origin"),
        (["new", "--origin=javascript:x"], "is not an origin"),
        (["new", "--owner=unknown@example.com"], "There is no account"),
        (["new", "--overage-policy=free"], "invalid choice"),
        (["new", "--max-ttl-seconds=59"], "invalid"),
        (["new", "--max-ttl-seconds=86401"], "invalid"),
        (["new", "--starter-credits=many"], "is not a number of credits"),
        (["new", "--starter-credits=-1"], "must not be negative"),
        (["new", "--starter-credits=0.0000001"], "at most 6 decimals"),
        (["new", "--starter-credits=NaN"], "must be a finite number"),
    ],
)
def test_create_app_refuses_cleanly(video: App, arguments: list[str], why: str) -> None:
    with pytest.raises(CommandError, match=why):
        run("create_app", *arguments)
    assert App.objects.count() == 1
    assert not AppKey.objects.exists()
    assert not SecurityEvent.objects.exists()


def test_demo_creates_missing_rows_and_no_row_twice(db: None) -> None:
    run("demo")
    said = run("demo", "--print-signins")
    app = App.objects.get(slug="video")
    assert app.starter_credits_micro == 20 * MICRO
    assert App.objects.get(is_tool=True).owner == User.objects.get(is_staff=False)
    assert AppKey.objects.count() == Entry.objects.count() == 1
    assert app.origins == ["http://localhost:5173"]
    for line in (
        "demo@example.com  focus-demo",
        "staff@example.com  focus-staff",
        "approver@example.com  focus-approver",
    ):
        assert line in said
        email, password = line.split()
        user = passwords.authenticate(email=email, password=password)
        assert user.is_superuser is email.startswith("staff")
        approves = user.has_perm("wallet.adjust_without_limit")
        assert approves is (email != "demo@example.com")
    assert User.objects.count() == 3


def test_demo_shows_the_tools_key_when_it_is_made(db: None) -> None:
    shown = re.search(r"sk-tool-\w{38}", run("demo", "--print-signins"))
    assert shown
    assert app_keys.find(secret=shown[0]).app.slug == "image-tool"
    assert "sk-tool" not in run("demo", "--print-signins")


def test_create_app_makes_a_tool(db: None) -> None:
    said = run(
        "create_app",
        "tool",
        "--tool",
        "--price=2.5",
        "--redirect-url=https://your-tool.com/cb?a=b",
        "--rate-limit=500",
        "--json",
    )
    facts = json.loads(said)
    app = App.objects.get()
    assert (facts["price"], facts["rate_limit"]) == (2.5, 500)
    assert facts["redirect_url"] == app.tool_url == "https://your-tool.com/cb?a=b"
    assert (app.is_tool, app.price_micro) == (True, 2_500_000)
    assert app.rate_limit_per_minute == 500


@pytest.mark.parametrize(
    "flags",
    [
        ["--tool"],
        ["--tool", "--price=1"],
        ["--price=1"],
        ["--redirect-url=https://x.com"],
        ["--tool", "--price=-1", "--redirect-url=https://x.com"],
        ["--tool", "--price=1000000.1", "--redirect-url=https://x.com"],
        ["--tool", "--price=x", "--redirect-url=https://x.com"],
        ["--tool", "--redirect-url=http://x.com"],
        ["--tool", "--redirect-url=https://user@x.com"],
        ["--tool", "--redirect-url=https://x.com/?token=1"],
        ["--tool", "--redirect-url=https://x.com/#/cb"],
        ["--tool", "--redirect-url=javascript:alert(1)"],
        ["--tool", "--redirect-url=https://x.com", "--rate-limit=0"],
    ],
    ids=" ".join,
)
def test_create_app_writes_nothing_for_an_invalid_tool(
    db: None, flags: list[str]
) -> None:
    with pytest.raises(CommandError):
        run("create_app", "tool", *flags)
    assert not App.objects.exists()


def test_demo_keeps_a_changed_password(db: None) -> None:
    run("demo")
    user = User.objects.get(email="demo@example.com")
    user.set_password("changed by hand")
    user.save()
    run("demo")
    assert passwords.authenticate(email=str(user.email), password="changed by hand")


def test_demo_is_local_only(db: None, settings: Settings) -> None:
    settings.LOCAL = False
    with pytest.raises(CommandError, match="local mode only"):
        run("demo")
    assert not User.objects.exists()


def test_the_key_is_in_no_log(db: None, caplog: Any) -> None:
    facts = json.loads(run("create_app", "photo-lab", "--json"))
    assert facts["api_key"] not in caplog.text
