"""Anchors detect a rewritten history, also one with recomputed hashes."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection, connections, transaction

from accounts.models import User
from focus.money import MICRO
from tests.rewriting import corrupt, rehash
from wallet import anchor_files, anchors, invariants, ledger
from wallet.models import Anchor, AnchoredHead, Wallet

pytestmark = pytest.mark.django_db
HEADS = "a chain contains its anchored heads"


def pem(key):
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


OLD, NEW = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()


def sign(make=anchors.make):
    anchor = make()
    assert anchor is not None
    return anchor


@pytest.fixture
def history(alice, bob, give):
    give(alice, 5)
    give(alice, 7)
    give(bob, 1)
    return sign()


def found():
    broken = invariants.check(actor="test")
    return {(each.invariant, each.account_id) for each in broken}


def test_an_anchor_lists_only_the_wallets_that_changed_since_the_previous_one(
    history, alice, bob, give
):
    assert history.number == 1
    listed = {head.wallet.account_id: head.seq for head in AnchoredHead.objects.all()}
    assert listed == {alice.pk: 2, bob.pk: 1}
    give(bob, 1)
    assert [head.seq for head in anchors.heads(sign())] == [2]
    assert list(anchors.heads(sign())) == []
    assert found() == set()


def test_a_full_rehash_with_other_actors_is_noticed(history, alice):
    corrupt("UPDATE wallet_entry SET actor = 'user:mallory' WHERE seq = 1")
    rehash()
    assert (
        invariants.violations(
            among={"": invariants.EVERY["the chain of hashes is whole"]}
        )
        == []
    )
    assert (HEADS, alice.pk) in found()


def test_a_dropped_tail_that_fits_is_noticed(history, alice):
    wallet = Wallet.objects.get(account=alice)
    corrupt("DELETE FROM wallet_entry WHERE wallet_id = %s AND seq = 2", [wallet.pk])
    corrupt(
        "UPDATE wallet_wallet SET seq = 1, available_micro = 5000000, head = (SELECT"
        " hash FROM wallet_entry WHERE wallet_id = %s AND seq = 1) WHERE id = %s",
        [wallet.pk, wallet.pk],
    )
    corrupt("DELETE FROM wallet_grant WHERE granted_micro = 7000000")
    assert found() == {(HEADS, alice.pk)}


def test_a_changed_money_key_that_no_other_row_names_is_noticed(history, alice):
    corrupt("UPDATE wallet_entry SET key = 'another' WHERE seq = 2")
    rehash()
    assert found() == {(HEADS, alice.pk)}


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE wallet_anchoredhead SET head = sha256('x')",
        "DELETE FROM wallet_anchoredhead",
        "UPDATE wallet_anchor SET statement = replace(statement, '\"wallets\": 2',"
        " '\"wallets\": 1')",
        "UPDATE wallet_anchor SET signature = decode(repeat('00', 64), 'hex')",
        "UPDATE wallet_anchor SET statement = '{}'",
        "UPDATE wallet_anchor SET number = 2",
    ],
)
def test_a_changed_anchor_is_noticed(history, change):
    corrupt(change)
    assert (invariants.SIGNED, None) in found()


def test_an_anchor_from_the_middle_is_missed(history, give, alice):
    give(alice, 1)
    sign()
    corrupt("DELETE FROM wallet_anchor WHERE number = 1")
    assert (invariants.SIGNED, None) in found()


def test_the_database_refuses_to_change_an_anchor(history):
    for sql in (
        "UPDATE wallet_anchor SET statement = ''",
        "DELETE FROM wallet_anchor",
        "UPDATE wallet_anchoredhead SET seq = 1",
        "DELETE FROM wallet_anchoredhead",
    ):
        with (
            pytest.raises(DatabaseError, match="immutable"),
            transaction.atomic(),
            connection.cursor() as cursor,
        ):
            cursor.execute(sql)


def test_a_wallet_with_a_broken_head_is_not_listed(alice, bob, give):
    give(alice, 1)
    give(bob, 1)
    corrupt(
        "UPDATE wallet_wallet SET head = sha256('x') WHERE account_id = %s", [alice.pk]
    )
    made = sign()
    assert [head.wallet_id for head in anchors.heads(made)] == [
        Wallet.objects.get(account=bob).pk
    ]


def test_one_anchor_is_made_each_day(alice, give, time_passes):
    give(alice, 1)
    assert anchors.make_if_due() is not None
    assert anchors.make_if_due() is None
    time_passes(int(timedelta(days=1).total_seconds()) + 1)
    assert sign(anchors.make_if_due).number == 2


def test_the_next_run_finishes_the_anchor_of_a_dead_worker(
    alice, bob, give, monkeypatch
):
    give(alice, 1)
    monkeypatch.setattr(anchors, "WALLETS_AT_ONCE", 1)
    begun = Anchor.objects.create(number=1)
    anchors._list_more(begun)
    give(bob, 1)
    made = sign(anchors.make_if_due)
    assert made.pk == begun.pk
    assert len(list(anchors.heads(made))) == 2
    assert found() == set()


class TestFile:
    @pytest.fixture
    def file(self, history, tmp_path):
        path = tmp_path / "anchor"
        path.write_text("".join(anchors.export(history)))
        return path

    def test_the_public_key_verifies_it_without_a_database(
        self, file, tmp_path, settings, capsys, django_assert_num_queries
    ):
        public = tmp_path / "public.pem"
        public.write_text(anchors.own_keys().public())
        assert "PRIVATE" not in public.read_text()
        settings.ANCHOR_PRIVATE_KEY = ""
        with django_assert_num_queries(0):
            call_command("verify_anchor", file, public_keys=public)
        assert "is whole: 2 heads" in capsys.readouterr().out

    def test_another_key_is_not_trusted(self, file, tmp_path):
        public = tmp_path / "public.pem"
        public.write_text(anchor_files.Keys(pem(NEW)).public())
        with pytest.raises(CommandError, match="not known"):
            call_command("verify_anchor", file, public_keys=public)

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            (" 2 ", " 3 "),
            ('"number": 1', '"number": 2'),
            ("signature ", "signature 00"),
            ("signature ", "signed "),
            ("\n", "\nmore\n"),
            ("{", "["),
        ],
    )
    def test_any_change_is_noticed(self, file, old, new):
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new, 1))
        with pytest.raises(CommandError):
            call_command("verify_anchor", file)

    @pytest.mark.parametrize("lines", [0, 1])
    def test_a_file_that_was_cut_off_is_refused(self, file, lines):
        file.write_text("".join(file.read_text().splitlines(keepends=True)[:lines]))
        with pytest.raises(CommandError):
            call_command("verify_anchor", file)

    def test_it_is_compared_with_the_ledger(self, file, alice, capsys):
        call_command("verify_anchor", file, database=True)
        corrupt("UPDATE wallet_entry SET actor = 'user:mallory' WHERE seq = 1")
        rehash()
        with pytest.raises(CommandError, match="not the one"):
            call_command("verify_anchor", file, database=True)
        assert "no longer has the entry 2" in capsys.readouterr().err

    def test_a_database_without_its_anchors_differs_from_it(self, file, capsys):
        corrupt("DELETE FROM wallet_anchoredhead")
        corrupt("DELETE FROM wallet_anchor")
        assert found() == set()
        with pytest.raises(CommandError):
            call_command("verify_anchor", file, database=True)
        assert "no such anchor 1" in capsys.readouterr().err

    def test_the_command_prints_it(self, file, capsys):
        capsys.readouterr()
        call_command("export_anchor")
        assert capsys.readouterr().out == file.read_text()


def test_a_retired_key_verifies_by_its_public_half(alice, give, settings):
    give(alice, 1)
    settings.ANCHOR_PRIVATE_KEY = pem(OLD)
    sign()
    give(alice, 1)
    retired = anchor_files.Keys(pem(OLD)).public()
    settings.ANCHOR_PRIVATE_KEY = pem(NEW) + retired
    made = sign()
    assert f'"key": "{anchor_files.key_id(NEW.public_key())}"' in made.statement
    assert list(anchors.faults()) == []
    settings.ANCHOR_PRIVATE_KEY = pem(NEW)
    assert [told.split(":")[0] for told in anchors.faults()] == ["anchor 1"]


@pytest.mark.parametrize(
    "text",
    ["", "nonsense", "-----BEGIN PRIVATE KEY-----\nx\n-----END PRIVATE KEY-----"],
)
def test_a_text_without_a_key_is_refused(text):
    with pytest.raises(anchor_files.NoKey):
        anchor_files.Keys(text)


@pytest.mark.django_db(transaction=True)
def test_anchors_made_concurrently_with_movements_and_anchors_hold():
    people = [User.objects.create(email=f"{n}@example.com") for n in range(4)]
    gate = threading.Barrier(6, timeout=30)

    def moves(user):
        for n in range(25):
            ledger.grant(
                account_id=user.pk,
                amount_micro=MICRO,
                source="promo",
                actor="test",
                key=f"{user.pk}:{n}",
            )

    def makes(_):
        return [anchors.make() for _ in range(15)]

    def run(call):
        work, argument = call
        try:
            connection.ensure_connection()
            gate.wait()
            return work(argument)
        finally:
            connections.close_all()

    calls = [*[(moves, user) for user in people], *[(makes, None)] * 2]
    with ThreadPoolExecutor(len(calls)) as pool:
        list(pool.map(run, calls))
    sign()
    numbers = list(Anchor.objects.order_by("number").values_list("number", flat=True))
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) > 2
    assert found() == set()
    assert Wallet.objects.filter(seq=25).count() == 4
