"""contracts.md, hosted work: only the work itself acts on a first-party app's jobs.

Each door that can reach a job is tried with each kind of credential.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from rest_framework.test import APIClient

from accounts.credentials import app_keys, scopes, tokens
from accounts.credentials.principals import Kind
from accounts.models import App, Consent, User
from accounts.partners import apps as partner_apps
from accounts.partners import consents, first_party, tools
from accounts.partners.apps import Offer
from accounts.signin import sessions
from focus.money import MICRO
from jobs import extensions, lifecycle
from jobs.hosted import previews, prices
from jobs.invariants import ALL
from jobs.models import Job, ToolPurchase, Usage
from tests.clerk import ISSUER, SIGNER, public_pem, session_token
from tests.contracts.thefocus.test_identity import in_browser
from wallet import invariants
from wallet.models import Entry

pytestmark = pytest.mark.django_db
SLUGS = ["reviv", "cosmiv", "clipforge"]
ACTIONS = {"reviv": "restore", "cosmiv": "montage", "clipforge": "export"}
PERSONS = [Kind.SESSION, Kind.JWT, Kind.PAT, Kind.CLERK]


@pytest.fixture(autouse=True)
def _adds_up(alice: User, give: Any) -> Iterator[None]:
    give(alice, 20)
    yield
    assert invariants.violations(among=ALL) == []


def bearer(token: str) -> APIClient:
    return APIClient(headers={"Authorization": f"Bearer {token}"})


@pytest.fixture
def callers(alice: User, settings: Any) -> Callable[..., APIClient]:
    """Make a client with a kind of credential, bound to an app or not."""
    settings.CLERK_ISSUER, settings.CLERK_JWT_KEY = ISSUER, public_pem(SIGNER)
    alice.clerk_id = "user_2ann"
    alice.save()

    def make(kind: Kind, bound_to: App | None = None) -> APIClient:
        if kind is Kind.SESSION:
            return in_browser(alice)
        if kind is Kind.CLERK:
            azp = bound_to.origins[0] if bound_to else settings.PUBLIC_BASE_URL
            return bearer(session_token(SIGNER, azp=azp))
        if kind is Kind.PAT:
            issued = tokens.issue(user=alice, name="x", scopes=scopes.DEFAULT)
            return bearer(issued.secret)
        made = sessions.begin(
            user=alice, client="x", access_seconds=60, methods=["pwd"]
        )
        if bound_to is None:
            return bearer(made.access_token)
        token = sessions.access_token(
            session=made.session, seconds=60, azp=bound_to.slug
        )
        return bearer(token.text)

    return make


def opened(user: User, slug: str) -> Job:
    """Start hosted work, as its run does."""
    return prices.start(
        account_id=user.pk,
        app_slug=slug,
        action=ACTIONS[slug],
        units=1,
        metadata={"description": "Restore grandmother.jpg"},
    ).job


def acts(job: Job) -> list[tuple[str, dict[str, Any]]]:
    return [
        ("/api/jobs", {"app": job.app.slug, "action": "x", "cost_estimate": 0}),
        ("/api/jobs/complete", {"job_id": str(job.pk), "actual_cost": 0}),
        ("/api/jobs/fail", {"job_id": str(job.pk), "refund": True}),
        (f"/api/jobs/{job.pk}/extend", {"ttl_seconds": 60}),
    ]


def all_are_refused(client: APIClient, job: Job, **more: Any) -> None:
    rows = list(Job.objects.order_by("pk").values())
    entries = Entry.objects.count()
    for path, body in acts(job):
        answer = client.post(path, body | more, headers={"Idempotency-Key": path})
        assert answer.status_code == 403, (path, answer.json())
        assert answer.json() == {
            "error": "hosted_app",
            "message": f"Jobs of {job.app.slug} are started and settled by its own work"
            " only.",
            "app": job.app.slug,
        }
    assert list(Job.objects.order_by("pk").values()) == rows
    assert Entry.objects.count() == entries


@pytest.mark.parametrize("slug", SLUGS)
@pytest.mark.parametrize("kind", PERSONS)
def test_no_credential_of_the_person_acts_on_hosted_work(
    callers: Callable[..., APIClient], alice: User, kind: Kind, slug: str
) -> None:
    all_are_refused(callers(kind), opened(alice, slug))


@pytest.mark.parametrize("kind", [Kind.JWT, Kind.CLERK])
def test_a_token_bound_to_the_app_reads_and_does_not_act(
    callers: Callable[..., APIClient], alice: User, kind: Kind
) -> None:
    App.objects.filter(pk=first_party.app("reviv").pk).update(
        origins=["https://reviv.example.com"]
    )
    job = opened(alice, "reviv")
    client = callers(kind, first_party.app("reviv"))
    all_are_refused(client, job)
    assert client.get(f"/api/jobs/{job.pk}").json()["status"] == "started"
    assert len(client.get("/api/jobs?app=reviv").json()["jobs"]) == 1


def test_a_token_bound_to_another_app_does_not_learn_of_the_work(
    callers: Callable[..., APIClient], alice: User, video: App
) -> None:
    job, client = opened(alice, "reviv"), callers(Kind.JWT, video)
    for path, body in acts(job):
        answer = client.post(path, body)
        assert answer.json()["error"] == "token_bound_to_app"


def test_a_key_of_the_app_acts_on_no_job(alice: User) -> None:
    """Only a take-over or an old database can have such a key."""
    app = first_party.app("clipforge")
    client = bearer(app_keys.issue(app=app, name="old").secret)
    job = opened(alice, "clipforge")
    all_are_refused(client, job, user_id=str(alice.pk))
    # Without the person's consent the answer is the same.
    consents.revoke(user=alice, app_id=app.pk)
    all_are_refused(client, job, user_id=str(alice.pk))


def test_a_key_of_the_app_consumes_nothing(alice: User) -> None:
    app = first_party.app("reviv")
    consents.grant(user=alice, app_id=app.pk)
    client = bearer(app_keys.issue(app=app, name="old").secret)
    charge = {"user_id": str(alice.pk), "amount": 1, "reason": "x"}
    answer = client.post(
        "/api/v1/credits/consume", charge | {"idempotency_key": "unlock:1"}
    )
    assert answer.status_code == 403
    assert answer.json() == {
        "error": "Hosted app",
        "message": "Jobs of reviv are started and settled by its own work only.",
        "app": "reviv",
    }
    assert not Usage.objects.exists()


def test_a_product_is_not_for_sale(
    callers: Callable[..., APIClient], alice: User
) -> None:
    app = first_party.app("reviv")
    answer = callers(Kind.JWT).post("/api/checkout/create", {"tool_id": str(app.pk)})
    assert answer.status_code == 404
    assert not ToolPurchase.objects.exists()


@pytest.mark.parametrize("slug", SLUGS)
def test_a_product_that_is_switched_off_or_missing_is_hosted_too(
    as_alice: APIClient, slug: str
) -> None:
    new = {"app": slug, "action": "x", "cost_estimate": 0}
    for _ in range(2):
        answer = as_alice.post("/api/jobs", new)
        assert (answer.status_code, answer.json()["error"]) == (403, "hosted_app")
        App.objects.filter(pk=first_party.app(slug).pk).update(active=False)
    assert not Job.objects.exists()
    assert not Consent.objects.exists()


def test_another_person_does_not_learn_of_the_work(
    as_bob: APIClient, alice: User
) -> None:
    job = opened(alice, "reviv")
    for path, body in acts(job)[1:]:
        answer = as_bob.post(path, body)
        assert (answer.status_code, answer.json()["error"]) == (404, "job_not_found")


def test_a_partners_app_with_the_slug_of_a_product_works_as_before(
    as_alice: APIClient, bob: User
) -> None:
    """An app of an older database: nothing else has this slug and an owner."""
    app = App.objects.create(slug="reviv", name="Reviv Photo", owner=bob)
    new = {"app": "reviv", "action": "x", "cost_estimate": 5}
    job = as_alice.post("/api/jobs", new).json()
    done = as_alice.post("/api/jobs/complete", {"job_id": job["job_id"]})
    assert done.json()["charged"] == 5
    with pytest.raises(first_party.ProductUnavailable):
        first_party.app("reviv")
    assert not first_party.is_hosted(app)


def test_hosted_work_is_listed_with_its_description_and_a_fresh_preview(
    as_alice: APIClient, alice: User, video: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(previews, "_readers", {})
    job, other = opened(alice, "reviv"), opened(alice, "reviv")
    old = {**other.metadata, "previewUrl": "https://old.example"}
    Job.objects.filter(pk=other.pk).update(metadata=old)
    for name in ("video", "reviv"):
        before = as_alice.get(f"/api/jobs?app={name}").json()["jobs"]
        assert [each["app"] for each in before] == [name] * len(before)
    asked = []

    def reader(ids: Any) -> dict[Any, str]:
        asked.append(set(ids))
        return {job.pk: f"https://new.example/{len(asked)}"}

    previews.register(app_slug="reviv", action="restore", reader=reader)
    listed = as_alice.get("/api/jobs").json()["jobs"]
    assert {each["id"]: each["metadata"] for each in listed} == {
        str(job.pk): {
            "description": "Restore grandmother.jpg",
            "previewUrl": "https://new.example/1",
        },
        # Its preview is gone, so the old address is not shown.
        str(other.pk): {"description": "Restore grandmother.jpg"},
    }
    one = as_alice.get(f"/api/jobs/{job.pk}").json()
    assert one["metadata"]["previewUrl"] == "https://new.example/2"
    assert asked == [{job.pk, other.pk}, {job.pk}]
    job.refresh_from_db()
    assert "previewUrl" not in job.metadata


def test_a_key_from_before_the_app_was_ours_opens_no_photo(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Staff's own app of this name keeps its keys when it becomes the product's."""
    monkeypatch.setattr(previews, "_readers", {})
    job = opened(alice, "reviv")
    previews.register(
        app_slug="reviv",
        action="restore",
        reader=lambda ids: dict.fromkeys(ids, "https://new.example/1"),
    )
    with_key = bearer(app_keys.issue(app=job.app, name="old").secret)
    listed = with_key.get("/api/jobs").json()["jobs"]
    one = with_key.get(f"/api/jobs/{job.pk}").json()
    assert [it["metadata"] for it in (*listed, one)] == [
        {"description": "Restore grandmother.jpg"}
    ] * 2


def test_the_run_itself_extends_and_settles(alice: User) -> None:
    job = opened(alice, "clipforge")
    run = lifecycle.Caller(f"run:{job.pk}", account_id=alice.pk, hosted=True)
    kept = extensions.extend(job_id=job.pk, caller=run, ttl_seconds=7200)
    assert kept.job.expires_at > job.expires_at
    done = lifecycle.complete(
        job_id=job.pk, caller=run, cost_micro=0, metadata={"previewUrl": "x"}
    )
    assert done.job.metadata == {
        "description": "Restore grandmother.jpg",
        "previewUrl": "x",
    }
    for call in (
        lambda: lifecycle.complete(
            job_id=job.pk, caller=run, cost_micro=0, metadata={}
        ),
        lambda: lifecycle.find(job_id=job.pk, caller=run),
    ):
        assert call().job.status == "completed"


def test_a_tool_that_looks_like_a_product_needs_approval(bob: User) -> None:
    offer = Offer(price_micro=MICRO, url="https://tool.example/cb")
    for slug, name in (("c1ipforge", "X"), ("photos", "Rеviv"), ("clip-forge", "Y")):
        issued = tools.publish(owner=bob, slug=slug, name=name, offer=offer)
        assert issued.key.app.name_needs_approval, slug
    for slug in SLUGS:
        with pytest.raises(partner_apps.SlugTaken):
            tools.publish(owner=bob, slug=slug, name="Mine", offer=offer)
