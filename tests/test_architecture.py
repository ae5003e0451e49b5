"""The house rules that a reviewer should not have to remember."""

import ast
import re
import subprocess
import sys
import tomllib
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.core.management import call_command
from django.db.models import PROTECT, ForeignKey

ROOT = Path(__file__).resolve().parent.parent
APPS = ["accounts", "wallet", "jobs", "payments"]
PRODUCT = [*APPS, "focus"]
FILES = [
    file
    for place in [*PRODUCT, "devtools", "media", "tests"]
    for file in sorted((ROOT / place).rglob("*.py"))
    if "migrations" not in file.parts
]
MODULES_PER_FOLDER = 15
# Sentences with these words have no actor, or hide it. The guides and their supplement
# are quoted as they are. As a whole string such a word is a value: the name of a system
# user.
WORDS = "whoever|whom|whose|nobody|somebody|whatever"
NO_ACTOR = re.compile(
    rf"(?<![a-z\"])({WORDS})(?![a-z])|(?<![a-z])({WORDS})(?![a-z\"])", re.IGNORECASE
)
QUOTED = ("docs/guides/", "docs/contracts.md", "devtools/stripe_emulator/spec/")
PROSE = {
    *{".conf", ".css", ".html", ".in", ".js", ".md", ".mjs", ".py", ".sql", ".toml"},
    *{".txt", ".yml", ".yaml"},
    "",  # Dockerfile, dev and .ci/run.
}
# Doors of different guides describe different things by one word, and a program of its
# own has its own words.
OWN_WORDS = ("/api/", "/pages", "/management/", "focus/cli/")
FOLDERS = "|".join(
    [*PRODUCT, "benchmarks", "deploy", "devtools", "docs", "media", "tests"]
)
CITED = re.compile(
    rf"(?<![\w./-])((?:{FOLDERS})/[\w./-]*\.(?:conf|html|json|md|py|sql|toml|yml))"
)
DECISION = re.compile(r"\b[Dd]ecision (\d{1,4})\b")
LINKED = re.compile(r"\]\((?!https?:|/|#|mailto:)([^)#\s]+)")
ENVIRONMENT = re.compile(r"os\.environ|os\.getenv|from os import .*(environ|getenv)")
IN_CONTRACTS = re.compile(r"focus\.contracts(?:\.| import )(\w+)")
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


def test_import_linter_knows_every_package() -> None:
    """A new package and a new room of focus need a line in pyproject.toml each."""
    linter = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"][
        "importlinter"
    ]
    packages = {place.parent.name for place in ROOT.glob("*/__init__.py")}
    assert packages - {"benchmarks", "tests"} == set(linter["root_packages"])
    across, inside = linter["contracts"][:2]
    named = {
        room.removeprefix("focus.")
        for layer in across["layers"]
        for room in re.split(r" [:|] ", layer)
        if room.startswith("focus.")
    }
    assert named == {room for layer in inside["layers"] for room in layer.split(" | ")}


@pytest.mark.parametrize(
    "guide", ["clipforge", "cosmiv", "onesub", "reviv", "thefocus"]
)
def test_a_guides_endpoints_use_no_other_guides_contract(guide: str) -> None:
    endpoints = [
        file for file in FILES if f"/api/{guide}" in str(file.relative_to(ROOT))
    ]
    used = {
        name for file in endpoints for name in IN_CONTRACTS.findall(file.read_text())
    }
    assert endpoints
    shared = {"Problem", "cursors", "fields", "multipart", "replay", "wire"}
    assert used - shared == {guide}


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


def test_a_folder_of_the_product_is_one_room() -> None:
    sizes = Counter(
        str(file.parent.relative_to(ROOT))
        for file in FILES
        if file.relative_to(ROOT).parts[0] in PRODUCT
        and file.name != "__init__.py"
        and "models" not in file.parts
    )
    crowded = {room: size for room, size in sizes.items() if size > MODULES_PER_FOLDER}
    assert crowded == {}


def test_prose_names_its_actors() -> None:
    found = [
        f"{name}:{number}: {line.strip()}"
        for name, text in _prose()
        if not name.startswith(QUOTED) and name != "tests/test_architecture.py"
        for number, line in enumerate(text.splitlines(), 1)
        if NO_ACTOR.search(line)
    ]
    assert found == []


def test_a_class_name_exists_once() -> None:
    """In rules, models and contracts; a door may not take one of their names either."""
    places: dict[str, list[str]] = defaultdict(list)
    doors: dict[str, list[str]] = defaultdict(list)
    for file in FILES:
        name = str(file.relative_to(ROOT))
        if not name.startswith(tuple(PRODUCT)):
            continue
        known = doors if any(part in name for part in OWN_WORDS) else places
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.ClassDef):
                known[node.name].append(name)
    twins = {name: files for name, files in places.items() if len(files) > 1}
    taken = {
        name: files + places[name]
        for name, files in doors.items()
        if name in places and any("/api/" in file or "/pages" in file for file in files)
    }
    assert (twins, taken) == ({}, {})


def test_what_prose_cites_is_there() -> None:
    missing = []
    decisions = {file.name[:4] for file in (ROOT / "docs/decisions").glob("0*.md")}
    for name, text in _prose():
        if name.startswith(("tests/", "docs/guides/")):
            continue
        missing += [
            f"{name}: decision {number}"
            for number in DECISION.findall(text)
            if number.zfill(4) not in decisions
        ]
        missing += [
            f"{name}: {path}" for path in CITED.findall(text) if not _there(path)
        ]
        if name.endswith(".md"):
            beside = (ROOT / name).parent
            links = LINKED.findall(text)
            missing += [f"{name}: {to}" for to in links if not (beside / to).exists()]
    assert missing == []


def _there(path: str) -> bool:
    """Whether the repository has it, also as a template or a static file of an app."""
    app = path.partition("/")[0]
    places = [ROOT, ROOT / app / "templates", ROOT / app / "static"]
    return any((place / path).exists() for place in places)


def _prose() -> list[tuple[str, str]]:
    """Each tracked file that people read, with its text."""
    tracked = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    files = [ROOT / name for name in tracked.split("\0") if name]
    return [
        (str(file.relative_to(ROOT)), file.read_text())
        for file in files
        if file.suffix in PROSE
        and file.is_file()
        and "migrations" not in file.parts
        and not (file.name.startswith("requirements") and file.suffix == ".txt")
        and file.name != "LICENSE"
        and ".min." not in file.name
    ]


def test_the_project_package_can_be_imported_without_django() -> None:
    """`focus.cli` is a program for machines that have none of the server's packages."""
    probe = (
        "import sys; sys.modules['django'] = None; import focus, focus.errors; "
        "assert 'focus.celery' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", probe], cwd=ROOT, check=True)


def test_a_foreign_key_to_the_ledger_protects_its_row() -> None:
    """Every foreign key to and inside wallet keeps its row from being deleted."""
    for model in apps.get_models():
        for field in model._meta.get_fields():
            if not isinstance(field, ForeignKey):
                continue
            target: Any = field.related_model
            if "wallet" in (model._meta.app_label, target._meta.app_label):
                relation: Any = field.remote_field
                assert relation.on_delete is PROTECT, f"{model.__name__}.{field.name}"


def test_only_settings_read_the_environment() -> None:
    """So docs/operations.md can list every variable."""
    allowed = {
        "focus/environment.py",
        "focus/settings.py",
        "focus/wsgi.py",
        "focus/celery.py",
        "manage.py",
    }
    for file in FILES:
        name = str(file.relative_to(ROOT))
        if (
            name.startswith(("focus/cli/", "devtools/", "media/", "tests/"))
            or name in allowed
        ):
            continue
        assert not ENVIRONMENT.search(file.read_text()), name
