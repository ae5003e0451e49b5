"""Only the granting app spends its starter credits, unless it allows every app."""

import pytest

from accounts.models import App
from focus.money import MICRO
from jobs import lifecycle, tool_purchases
from jobs.invariants import ALL
from wallet import invariants, ledger, starters, statements
from wallet.models import Grant

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _adds_up(db):
    yield
    assert invariants.violations(among=ALL) == []


def meet(user, app):
    starters.record_consent_and_grant(user=user, app=app, actor="test")


def test_an_attackers_tool_gets_none_of_another_apps_starter_credits(
    alice, video, tool
):
    meet(alice, video)
    checkout = tool_purchases.create(user=alice, tool_id=tool.pk)
    with pytest.raises(ledger.InsufficientCredits) as refusal:
        tool_purchases.process(user=alice, purchase_id=checkout.pk)
    assert refusal.value.facts == {"required": 25, "available": 0}
    assert Grant.objects.get().app == video


def test_each_app_sees_its_own_and_the_wallet_sees_all(alice, video, tool, give):
    meet(alice, video)
    give(alice, 7)
    seen = {
        app: ledger.balance(account_id=alice.pk, app_id=app and app.pk).credits_micro
        for app in (None, video, tool)
    }
    assert seen == {None: 27 * MICRO, video: 27 * MICRO, tool: 7 * MICRO}
    everywhere = ledger.balance_at(account_id=alice.pk, slug="reviv")
    assert everywhere.credits_micro == 7 * MICRO
    at_video = ledger.balance_at(account_id=alice.pk, slug="video")
    assert at_video.credits_micro == 27 * MICRO
    assert statements.restricted_by_app(account_id=alice.pk) == [(video, 20 * MICRO)]


def test_an_app_may_give_credits_for_every_app(alice, video, tool):
    App.objects.filter(pk=video.pk).update(starter_credits_at="any")
    video.refresh_from_db()
    meet(alice, video)
    assert Grant.objects.get().app is None
    seen = ledger.balance(account_id=alice.pk, app_id=tool.pk)
    assert seen.credits_micro == 20 * MICRO


def test_a_changed_setting_leaves_existing_grants(alice, bob, video):
    App.objects.filter(pk=video.pk).update(starter_credits_at="any")
    video.refresh_from_db()
    meet(alice, video)
    App.objects.filter(pk=video.pk).update(starter_credits_at="app")
    video.refresh_from_db()
    meet(alice, video)
    meet(bob, video)
    assert [grant.app for grant in Grant.objects.order_by("pk")] == [None, video]


def test_a_job_of_the_app_spends_its_own_credits_first(alice, video, give):
    give(alice, 5)
    meet(alice, video)
    job = lifecycle.start(
        account_id=alice.pk,
        app=video,
        action="render",
        estimate_micro=22 * MICRO,
        metadata={},
        actor="test",
    )
    assert job.balance.credits_micro == 3 * MICRO
    left = Grant.objects.order_by("pk").values_list("remaining_micro", flat=True)
    assert list(left) == [3 * MICRO, 0]
