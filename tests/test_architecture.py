"""The house rules that a reviewer should not have to remember."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.core.management import call_command
from django.db.models import PROTECT, ForeignKey

ROOT = Path(__file__).resolve().parent.parent
APPS = ["accounts", "wallet", "jobs", "payments"]
FILES = [
    file
    for place in [*APPS, "focus", "devtools", "tests"]
    for file in sorted((ROOT / place).rglob("*.py"))
    if "migrations" not in file.parts
]
# Names that hide what is inside.
NAMELESS = {"utils", "util", "helpers", "common", "core", "services", "misc"}


def test_imports_point_the_agreed_way() -> None:
    lint_imports = Path(sys.executable).with_name("lint-imports")
    run = subprocess.run(
        [sys.executable, lint_imports, "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.django_db
def test_no_migration_is_missing() -> None:
    call_command("makemigrations", check=True, dry_run=True)


@pytest.mark.parametrize("app", APPS)
def test_an_app_has_a_door_plate(app: str) -> None:
    assert (ROOT / app / "__init__.py").read_text().startswith('"""')


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_a_file_fits_in_one_sitting_and_is_called_what_it_is(file: Path) -> None:
    assert len(file.read_text().splitlines()) <= 400
    assert not NAMELESS & {file.stem, file.parent.name}


def test_the_project_package_can_be_imported_without_django() -> None:
    """`focus.cli` is a program for machines that have none of the server's packages."""
    probe = (
        "import sys; sys.modules['django'] = None; import focus, focus.errors; "
        "assert 'focus.celery' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", probe], cwd=ROOT, check=True)


def test_whoever_refers_to_the_ledger_protects_it() -> None:
    """Every foreign key to and inside wallet keeps its row from being deleted."""
    for model in apps.get_models():
        for field in model._meta.get_fields():
            if not isinstance(field, ForeignKey):
                continue
            target: Any = field.related_model
            if "wallet" in (model._meta.app_label, target._meta.app_label):
                relation: Any = field.remote_field
                assert relation.on_delete is PROTECT, f"{model.__name__}.{field.name}"


def test_nobody_but_settings_reads_the_environment() -> None:
    """A setting that hides in a module is a setting nobody finds."""
    allowed = {
        "focus/environment.py",
        "focus/settings.py",
        "focus/wsgi.py",
        "focus/celery.py",
        "manage.py",
    }
    for file in FILES:
        name = str(file.relative_to(ROOT))
        if name.startswith(("focus/cli/", "devtools/", "tests/")) or name in allowed:
            continue
        assert "os.environ" not in file.read_text(), name
