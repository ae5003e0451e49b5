"""The media engine's installer and its place in ./dev, with real environments."""

import ast
import subprocess
from pathlib import Path

import pytest

from devtools.launcher import locks, media, python
from devtools.launcher.family import Family
from devtools.launcher.media import Engine
from devtools.launcher.places import LOCKED, ROOT
from devtools.launcher.say import Trouble
from tests.doors.checkout import wheel

SERVER = ["accounts", "benchmarks", "devtools", "focus", "jobs", "payments", "wallet"]


@pytest.fixture
def engine(tmp_path, monkeypatch):
    """A checkout: its engine needs one small package, and its tests one more."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    (tmp_path / "media").mkdir()
    (tmp_path / "var").mkdir()
    run, test = wheel(wheels, "enginepart"), wheel(wheels, "testpart")
    (tmp_path / "media/requirements.txt").write_text(f"{run}\n")
    (tmp_path / "media/requirements-dev.txt").write_text(f"{run}\n{test}\n")
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_CONSTRAINT", "PIP_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    return Engine(tmp_path, tmp_path / "var")


def answers(engine: Engine, module: str) -> bool:
    code = f"import {module}; assert {module}.ANSWER == 42"
    argv: list[str | Path] = [engine.python, "-c", code]
    return subprocess.run(argv, capture_output=True).returncode == 0


@pytest.mark.slow
def test_the_engine_is_installed_from_its_lock(engine):
    heard = []
    assert not engine.ready()
    engine.install(lambda percent, text: heard.append((percent, text)))
    assert engine.ready()
    assert not engine.ready(tests=True)
    assert answers(engine, "enginepart")
    assert not answers(engine, "testpart")
    percents = [percent for percent, _ in heard]
    assert percents == sorted(percents)
    assert (percents[0], percents[-1]) == (0, 100)
    assert heard[-1][1].startswith("The media engine is ready")

    engine.install(lambda *_: pytest.fail("It was installed."))

    engine.install(lambda *_: None, tests=True)
    assert engine.ready()
    assert engine.ready(tests=True)
    assert answers(engine, "testpart")

    lock = engine.folder / "requirements-dev.txt"
    lock.write_text(lock.read_text() + "\n# a newer lock\n")
    assert not engine.ready(tests=True)


@pytest.mark.slow
def test_a_download_that_is_not_what_the_lock_says_is_one_line(engine):
    lock = engine.folder / "requirements.txt"
    digest = lock.read_text().strip()[-64:]
    lock.write_text(lock.read_text().replace(digest, "0" * 64))
    with pytest.raises(Trouble) as trouble:
        engine.install(lambda *_: None)
    assert "enginepart" in str(trouble.value)
    assert "requirements.txt promises" in str(trouble.value)
    assert "\n" not in str(trouble.value)
    assert not engine.ready()


@pytest.mark.slow
def test_a_moved_checkout_installs_anew(engine, tmp_path):
    engine.install(lambda *_: None)
    moved = tmp_path / "moved"
    moved.mkdir()
    for name in ("media", ".venv-media"):
        (tmp_path / name).rename(moved / name)
    assert not Engine(moved, tmp_path / "var").ready()


def test_an_installation_has_a_percentage_that_ends_at_100():
    installed = [3]
    progress = python.Progress(14, lambda: installed[0], download_mb=200)
    seen = [progress.percent()]
    for line in ("  Downloading a-1.whl (50 MB)\n", "  Downloading b-1.whl (150 MB)\n"):
        progress.read(line)
        seen.append(progress.percent())
    progress.read("Installing collected packages: a, b\n")
    for _ in range(2):
        installed[0] += 1
        seen.append(progress.percent())
    assert seen == [0, 17.5, 70, 85, 100]


@pytest.mark.parametrize(
    ("arguments", "only"),
    [
        ([], False),
        (["--slow"], False),
        (["-k", "photo"], False),
        (["tests/rules"], False),
        (["media/tests"], True),
        (["media/tests/test_photos.py", "-k", "haze"], True),
        (["--slow", "media/tests"], True),
        (["tests", "media/tests"], False),
    ],
)
def test_paths_decide_which_tests_are_meant(arguments, only):
    assert media.only(arguments) is only


def test_ci_does_not_pass_over_an_engine_that_is_not_installed(engine, monkeypatch):
    monkeypatch.setattr(media, "Engine", lambda: engine)
    monkeypatch.setenv("FOCUS_CI", "1")
    with Family() as family:
        with pytest.raises(Trouble, match=r"\./dev media"):
            media.run_tests(family, [])
        monkeypatch.delenv("FOCUS_CI")
        assert media.run_tests(family, []) == 0
        with pytest.raises(Trouble, match=r"\./dev media"):
            media.run_tests(family, ["media/tests"])


def test_other_arguments_do_not_run_the_engines_tests(engine, monkeypatch):
    monkeypatch.setattr(media, "Engine", lambda: engine)
    monkeypatch.setenv("FOCUS_CI", "1")
    with Family() as family:
        assert media.run_tests(family, ["tests/rules"]) == 0
        assert media.run_tests(family, ["-k", "photo"]) == 0


# --- the checkout itself -----------------------------------------------------------


@pytest.mark.parametrize("folder", LOCKED)
def test_the_locks_are_in_step_with_what_they_lock(folder):
    assert locks.problems(ROOT / folder) == []


def test_both_locks_of_the_engine_hold_the_same_versions():
    def versions(name):
        lines = (ROOT / "media" / name).read_text().splitlines()
        return {line.split(" ")[0] for line in lines if "==" in line[:60]}

    assert versions("requirements.txt") <= versions("requirements-dev.txt")


def test_no_package_of_the_server_imports_the_engine():
    for package in [*SERVER, "tests"]:
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_bytes())):
                names = []
                if isinstance(node, ast.Import):
                    names = [name.name for name in node.names]
                elif isinstance(node, ast.ImportFrom) and not node.level:
                    names = [node.module or ""]
                assert "media" not in {name.split(".")[0] for name in names}, path


def test_the_engine_imports_no_package_of_the_server():
    for path in (ROOT / "media").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_bytes())):
            names = []
            if isinstance(node, ast.Import):
                names = [name.name for name in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert not node.level, path
                names = [node.module or ""]
            tops = {name.split(".")[0] for name in names}
            assert not tops & {*SERVER, "tests", "django"}, path
