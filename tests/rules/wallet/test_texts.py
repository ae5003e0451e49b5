"""Texts of movements can be erased, and older entries stay verifiable."""

import hashlib

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection, transaction

from accounts.models import SecurityEvent
from accounts.partners import consents
from focus.money import MICRO
from jobs import extensions, lifecycle, usage
from jobs.invariants import ALL
from jobs.models import Job, Usage
from tests.rewriting import corrupt, rehash
from wallet import invariants, ledger
from wallet.models import Entry, Text, Wallet

pytestmark = pytest.mark.django_db
SECRET = "for Alice Smith, Elm Street 5"


@pytest.fixture
def said(alice, video, give):
    consents.grant(user=alice, app_id=video.pk)
    give(alice, 9, reason=SECRET)
    job = lifecycle.start(
        account_id=alice.pk,
        app=video,
        action="render",
        estimate_micro=MICRO,
        metadata={"description": SECRET},
        actor=f"user:{alice.pk}",
    ).job
    lifecycle.fail(
        job_id=job.pk,
        caller=lifecycle.Caller(f"user:{alice.pk}", account_id=alice.pk),
        refund=True,
        fail_reason=SECRET,
    )
    _charge(alice, video)


def _charge(alice, video):
    return usage.charge(
        account_id=alice.pk,
        app=video,
        amount_micro=MICRO,
        reason=SECRET,
        key="one",
        actor="app:video",
    )


def test_no_entry_has_a_text_and_each_has_its_digest(said):
    assert set(Entry.objects.values_list("reason", flat=True)) == {""}
    assert [entry.shown_reason for entry in Entry.objects.order_by("seq")] == [
        SECRET,
        "",
        "",
        SECRET,
    ]
    for entry in Entry.objects.exclude(text=None):
        assert entry.text
        assert entry.text.salt
        assert entry.text.said
        digest = hashlib.sha256(entry.text.salt.bytes + entry.text.said.encode())
        assert bytes(entry.text_digest or b"") == digest.digest()
    salts = Text.objects.values_list("salt", flat=True)
    assert len(set(salts)) == len(salts) == 2


def test_erasing_an_account_leaves_no_text_and_breaks_no_chain(
    said, alice, bob, video, give, capsys
):
    give(bob, 1, reason=SECRET)
    before = list(Entry.objects.values_list("hash", flat=True))
    call_command("erase_texts", "alice@example.com")
    assert "Erased 2 texts of entries and 2 of jobs." in capsys.readouterr().out
    assert [told.wallet.account_id for told in Text.objects.filter(said=SECRET)] == [
        bob.pk
    ]
    assert Text.objects.filter(salt=None).count() == 2
    assert list(Entry.objects.values_list("hash", flat=True)) == before
    assert invariants.violations(among=ALL) == []
    assert not Usage.objects.filter(reason=SECRET).exists()
    assert not Job.objects.filter(fail_reason=SECRET).exists()
    assert Entry.objects.exclude(text=None).filter(wallet__account=alice)[
        0
    ].shown_reason == ("(erased)")
    assert SecurityEvent.objects.filter(kind="ledger_texts_erased").count() == 1
    call_command("erase_texts", str(alice.pk))
    assert "Erased 0 texts" in capsys.readouterr().out
    # A repeated charge still returns the first one's facts.
    with pytest.raises(usage.DuplicateRequest) as again:
        _charge(alice, video)
    assert again.value.facts["is_duplicate"] is True


def test_an_unknown_account_is_refused(db):
    with pytest.raises(CommandError, match="No account"):
        call_command("erase_texts", "no@example.com")


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE wallet_text SET said = 'another'",
        "UPDATE wallet_text SET wallet_id = wallet_id + 1",
        "DELETE FROM wallet_text",
        "TRUNCATE wallet_text",
    ],
)
def test_a_text_changes_only_by_being_erased(said, change):
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL focus.allow_truncate = off")
        with pytest.raises(DatabaseError, match="immutable"), transaction.atomic():
            cursor.execute(change)
        cursor.execute("SET LOCAL focus.allow_truncate = on")


def test_an_actor_is_never_an_address(alice, video, give):
    with pytest.raises(ValueError, match="an id or a code"):
        give(alice, 1, actor="alice@example.com")
    with pytest.raises(ValueError, match="an id or a code"):
        ledger.consume_many(app=video, actor="a@b.c", charges=[])


@pytest.fixture
def of_the_release_before(alice, video, give):
    """A wallet with entries of version 1: reasons in them, no terms and no digests."""
    give(alice, 9, only_for=video)
    give(alice, 9, reason="a gift")
    ledger.set_budget(account_id=alice.pk, app=video, limit_micro=5 * MICRO)
    corrupt("DELETE FROM wallet_entry WHERE kind = 'limit'")
    corrupt("UPDATE wallet_wallet SET seq = 2")
    corrupt(
        "UPDATE wallet_entry SET hash_version = NULL, terms = NULL, text_digest = NULL,"
        " text_id = NULL, reason = 'a gift to alice'"
    )
    rehash()


def test_entries_of_version_1_are_verified_beside_newer_ones(
    of_the_release_before, alice, give
):
    assert invariants.violations(among=ALL) == []
    give(alice, 1)
    versions = Entry.objects.order_by("seq").values_list("hash_version", flat=True)
    assert list(versions) == [None, None, 2]
    assert invariants.violations(among=ALL) == []
    assert Entry.objects.get(seq=1).shown_reason == "a gift to alice"
    corrupt("UPDATE wallet_entry SET reason = 'nothing' WHERE seq = 1")
    assert invariants.violations(among=ALL)


def test_missing_terms_of_the_previous_release_are_booked_once_and_proved(
    of_the_release_before, alice
):
    assert ledger.book_all_missing_terms() == 1
    kinds = list(Entry.objects.order_by("seq").values_list("kind", flat=True))
    assert kinds == ["grant", "grant", "terms", "terms", "limit"]
    assert ledger.book_all_missing_terms() == 0
    assert ledger.book_missing_terms(account_id=alice.pk) == 0
    assert invariants.violations(among=ALL) == []
    corrupt("UPDATE wallet_grant SET app_id = NULL WHERE app_id IS NOT NULL")
    corrupt("UPDATE wallet_budget SET limit_micro = 10^12")
    found = {violation.invariant for violation in invariants.violations()}
    assert found == {
        "a grant is as it was given",
        "a budget's limit was set by an entry",
    }


def test_a_reservation_of_version_1_is_extended_and_its_end_proved(
    alice, video, give, grant_consent
):
    grant_consent(alice, video)
    give(alice, 9)
    job = lifecycle.start(
        account_id=alice.pk,
        app=video,
        action="render",
        estimate_micro=5 * MICRO,
        metadata={},
        actor="test",
    ).job
    corrupt("UPDATE wallet_entry SET hash_version = NULL, terms = NULL")
    rehash()
    extensions.extend(
        job_id=job.pk,
        caller=lifecycle.Caller("test", account_id=alice.pk),
        ttl_seconds=7200,
    )
    assert invariants.violations(among=ALL) == []
    corrupt(
        "WITH j AS (UPDATE jobs_job SET expires_at = expires_at + interval '1 h')"
        " UPDATE wallet_reservation SET expires_at = expires_at + interval '1 h'"
    )
    found = {violation.invariant for violation in invariants.violations(among=ALL)}
    assert found == {"a reservation ends when it was to end"}


def test_an_overdraft_limit_of_the_previous_release_is_booked(alice, give):
    give(alice, 1)
    Wallet.objects.update(overdraft_limit_micro=5 * MICRO)
    assert invariants.violations()
    assert ledger.book_missing_terms(account_id=alice.pk) == 1
    assert invariants.violations() == []
