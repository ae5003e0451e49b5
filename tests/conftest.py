"""Shared fixtures: alice and bob (users), video and tool (apps), staff, clients."""

import os
from collections.abc import Callable, Iterator
from typing import Any

import hypothesis
import pytest
import redis
from django.db import connection
from django.test import TransactionTestCase
from rest_framework.test import APIClient

from accounts.credentials import app_keys, scopes, tokens
from accounts.models import App, User
from accounts.partners import apps as partner_apps
from accounts.partners import consents
from accounts.providers import jwks
from focus.limiting.limiter import process_limiter as limiter
from focus.money import MICRO
from jobs.models import Price
from tests import googling
from tests.clerk import ISSUER, Clerk, stub
from tests.stripe import SECRET_KEY, WEBHOOK_SECRET, Emulator, emulator
from tests.till import Till
from wallet import ledger

# No test asserts a time, so a slow machine fails no property.
hypothesis.settings.register_profile(
    "untimed",
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("untimed")

# Whole programs and real browsers: only `./dev test --slow` and CI run these.
SLOW = (
    "tests/browser/",
    "tests/contracts/reviv/test_restorations_engine.py",
    "tests/contracts/test_schema_fuzz.py",
    "tests/devtools/test_stripe_process.py",
    "tests/doors/cli/",
    "tests/doors/test_celery.py",
    "tests/doors/pages/test_dev_mail.py::test_only_a_local_server",
    "tests/doors/test_launcher.py",
    "tests/doors/test_launcher_media.py",
    "tests/doors/test_webhook_receivers.py",
    "tests/faults/",
    "tests/linking/",
    "tests/perimeter/",
    "tests/rules/jobs/files/test_bucket.py",
    "tests/rules/payments/test_table.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.nodeid.startswith(SLOW):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def django_db_modify_db_settings(
    django_db_modify_db_settings_parallel_suffix: None,
) -> None:
    """Allow TRUNCATE in this database, which has a name with the prefix test_."""
    options = connection.settings_dict["OPTIONS"]
    options["options"] += " -c focus.allow_truncate=on"


@pytest.fixture(scope="session", autouse=True)
def _own_corner() -> None:
    """Give each parallel worker its own Valkey database, and a fast password hasher."""
    from django.conf import settings

    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    number = int(worker) + 1
    settings.REDIS_URL = settings.REDIS_URL.replace("db=0", f"db={number}")
    settings.CELERY_BROKER_URL = settings.CELERY_BROKER_URL.replace(
        "virtual_host=0", f"virtual_host={number}"
    )
    # Most tests run without rate limits; the others use `real_limits`.
    settings.RATE_LIMIT_SCALE = 1_000_000
    # A busy machine is not a dead Redis, which is noticed without waiting.
    settings.RATE_LIMIT_TIMEOUT_SECONDS = 20
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    settings.PASSWORD_HASHES_WAITING = 50


@pytest.fixture(scope="session", autouse=True)
def _own_files(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Give each parallel worker its own folder of files, on a disk of any size."""
    from django.conf import settings

    settings.MEDIA_ROOT = tmp_path_factory.mktemp("media")
    settings.FILES_LEAST_FREE_BYTES = 0


@pytest.fixture
def real_limits(settings: Any) -> None:
    """Use production's rate limits, with empty counters."""
    settings.RATE_LIMIT_SCALE = 1
    limiter.cache_clear()
    store = redis.Redis.from_url(settings.REDIS_URL)
    for key in store.scan_iter("{limit}:*"):
        store.delete(key)
    store.close()


# Tables that migrate fills and that no committing test writes: roles, permissions,
# content types, packs and plans.
MIGRATED = {
    "auth_group",
    "auth_group_permissions",
    "auth_permission",
    "django_content_type",
    "django_migrations",
    "payments_pack",
    "payments_plan",
}


@pytest.fixture(scope="session", autouse=True)
def _quick_flush() -> None:
    """Truncate the tables that a committing test has written; keep migrate's rows.

    Django's own flush also truncates those and fills them again by post_migrate, which
    takes a third of a second per test.
    """

    def flush(_case: TransactionTestCase) -> None:
        with connection.cursor() as cursor:
            tables = set(connection.introspection.table_names(cursor)) - MIGRATED
            cursor.execute(f"TRUNCATE {', '.join(sorted(tables))} RESTART IDENTITY")

    TransactionTestCase._fixture_teardown = flush  # type: ignore[attr-defined]


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: Any) -> None:
    """Begin without the first-party apps and their prices, as after each truncation.

    The rules make a missing app and read a missing price as the one that migrate wrote.
    """
    # Without a test that is marked for it, pytest-django has made no database.
    if not str(connection.settings_dict["NAME"]).startswith("test_"):
        return
    with django_db_blocker.unblock():
        Price.objects.all().delete()
        App.objects.all().delete()


@pytest.fixture
def video(db: None) -> App:
    """The guide's app: 20 starter credits."""
    return App.objects.create(
        slug="video",
        name="Focus Video",
        starter_credits_micro=20 * MICRO,
        origins=["https://video.example.com"],
    )


@pytest.fixture
def tool(db: None) -> App:
    """A tool of 1sub's guide: 25 credits."""
    offer = partner_apps.Offer(
        price_micro=25 * MICRO, url="https://your-tool.com?lang=en"
    )
    return partner_apps.create(slug="tool", name="Your Tool", offer=offer)


@pytest.fixture
def alice(db: None) -> User:
    return User.objects.create_user("alice@example.com", "alice's password")


@pytest.fixture
def bob(db: None) -> User:
    """Another user, who must never see alice's data."""
    return User.objects.create_user("bob@example.com", "bob's password")


@pytest.fixture
def staff(db: None) -> User:
    return User.objects.create_superuser("staff@example.com", "staff's password")


@pytest.fixture
def caller(db: None) -> Callable[[User], APIClient]:
    """Make clients that call as a user, with a personal access token."""

    def calls(user: User) -> APIClient:
        issued = tokens.issue(user=user, name="test", scopes=scopes.DEFAULT)
        return APIClient(headers={"Authorization": f"Bearer {issued.secret}"})

    return calls


@pytest.fixture
def as_alice(alice: User, caller: Callable[[User], APIClient]) -> APIClient:
    return caller(alice)


@pytest.fixture
def as_bob(bob: User, caller: Callable[[User], APIClient]) -> APIClient:
    return caller(bob)


@pytest.fixture
def as_video(video: App) -> APIClient:
    """Return the client of the app's server, with its key."""
    issued = app_keys.issue(app=video, name="test")
    return APIClient(headers={"Authorization": f"Bearer {issued.secret}"})


@pytest.fixture
def as_stranger(db: None) -> APIClient:
    return APIClient()


@pytest.fixture
def give(db: None) -> Callable[..., Any]:
    """Grant credits to a user's wallet."""
    count = 0

    def gives(user: User, amount: int, **options: Any) -> ledger.Granted:
        nonlocal count
        count += 1
        return ledger.grant(
            account_id=user.pk,
            amount_micro=amount * MICRO,
            **{
                "source": "promo",
                "actor": "test",
                "key": f"give:{user.pk}:{count}",
                **options,
            },
        )

    return gives


@pytest.fixture
def grant_consent(db: None) -> Callable[[User, App], App]:
    """Grant an app a user's consent, as its first use does."""

    def consents_to(user: User, app: App) -> App:
        consents.grant(user=user, app_id=app.pk)
        return app

    return consents_to


@pytest.fixture(scope="session")
def _stripe_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with emulator(tmp_path_factory.mktemp("stripe")) as running:
        yield running


@pytest.fixture
def stripe_emulator(_stripe_process: Emulator, settings: Any) -> Emulator:
    """An empty Stripe emulator in its own process, with settings that point to it."""
    _stripe_process.control("reset")
    _stripe_process.deliver_to("")
    settings.STRIPE_API_BASE = _stripe_process.url
    settings.STRIPE_SECRET_KEY = SECRET_KEY
    settings.STRIPE_WEBHOOK_SECRETS = [WEBHOOK_SECRET]
    return _stripe_process


@pytest.fixture
def till(stripe_emulator: Emulator, settings: Any, db: None) -> Till:
    """Purchases at the emulator.

    The test decides which events it delivers, and when.
    """
    settings.STRIPE_WEBHOOK_SECRETS = ["whsec_older", WEBHOOK_SECRET]
    return Till(stripe_emulator)


@pytest.fixture
def time_passes(db: None) -> Any:
    """Move the ledger's clock forward, on this test's connection."""
    moved = 0

    def passes(seconds: int) -> None:
        nonlocal moved
        moved += seconds
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT set_config('focus.clock_offset', %s, false)", [f"{moved}s"]
            )

    yield passes
    passes(-moved)


@pytest.fixture(scope="session")
def _clerk_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clerk]:
    with stub(tmp_path_factory.mktemp("clerk") / "log") as running:
        yield running


@pytest.fixture
def clerk(_clerk_process: Clerk, settings: Any) -> Iterator[Clerk]:
    """The Clerk stub without users, and settings that point to it."""
    _clerk_process.reset()
    settings.CLERK_ISSUER = ISSUER
    settings.CLERK_JWT_KEY = ""
    settings.CLERK_JWKS_URL = _clerk_process.jwks_url
    _forget_keys(settings.REDIS_URL)
    yield _clerk_process
    _forget_keys(settings.REDIS_URL)


def _forget_keys(redis_url: str) -> None:
    jwks.clear_cache()
    store = redis.Redis.from_url(redis_url)
    for key in store.scan_iter("focus:jwks:*"):
        store.delete(key)
    store.close()


@pytest.fixture(scope="session")
def _provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with googling.provider(tmp_path_factory.mktemp("google") / "log") as address:
        yield address


@pytest.fixture
def google(_provider: str, settings: Any) -> str:
    """Configure sign-in with Google against our OpenID provider process."""
    for name, value in googling.environment(_provider).items():
        setattr(settings, name, value)
    return _provider
