"""The calls in `wallet/ledger/` fit the signatures of the SQL functions."""

import re
from pathlib import Path

import pytest
from django.db import connection

from wallet import install, ledger, outcomes

FILES = [*Path(ledger.__file__).parent.glob("*.py"), Path(outcomes.__file__)]
SOURCE = "".join(file.read_text() for file in FILES)


@pytest.fixture
def functions(db):
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT proname, pronargs, proargnames[pronargs + 1:] FROM pg_proc"
            " WHERE pronamespace = 'ledger'::regnamespace"
        )
        return {name: (takes, set(gives or [])) for name, takes, gives in cursor}


def test_every_call_fits_its_function(functions):
    calls = re.findall(
        r"FROM ledger\.(\w+)\(([^;]*?)\)\"?[ ,\n]", SOURCE.replace('"\n', "")
    )
    assert len(calls) >= 8
    for name, arguments in calls:
        takes, _ = functions[name]
        assert arguments.count("%(") == takes, name


def test_every_column_read_is_given_by_some_function(functions):
    read = set(re.findall(r'row(?:\.get\(|\[)"(\w+)"', SOURCE))
    given = set().union(*(gives for _, gives in functions.values()))
    assert read <= given


def test_installing_again_changes_nothing_and_a_new_text_is_installed(db):
    with connection.cursor() as cursor:
        cursor.execute("COMMENT ON SCHEMA ledger IS 'sha256:old'")
        install.install_functions()
        cursor.execute("SELECT obj_description('ledger'::regnamespace)")
        (mark,) = cursor.fetchone()
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", mark)


def test_a_function_fits_on_a_screen():
    bodies = re.split(r"CREATE OR REPLACE FUNCTION ", install.source())[1:]
    assert all(body.count("\n") <= 70 for body in bodies)
