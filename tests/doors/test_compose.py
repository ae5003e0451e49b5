"""docker-compose.yml and the Dockerfile, as far as they can be read without Docker."""

import re
from pathlib import Path

import pytest
import yaml

from devtools.launcher import localenv
from devtools.launcher.family import Family

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES = COMPOSE["services"]


def secrets_of(service: dict) -> set[str]:
    return set(service.get("secrets", []))


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_has_a_health_check_and_a_restart_policy(name):
    check = SERVICES[name]["healthcheck"]
    assert check["test"]
    assert "disable" not in check
    assert SERVICES[name]["restart"] != "no"


@pytest.mark.parametrize("name", SERVICES)
def test_what_a_service_waits_for_exists_and_can_become_true(name):
    for target, how in SERVICES[name].get("depends_on", {}).items():
        assert target in SERVICES
        if how["condition"] == "service_healthy":
            assert "healthcheck" in SERVICES[target]
        else:
            assert how["condition"] == "service_completed_successfully"
            assert target == "migrate"


def test_only_web_is_published():
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["web"]
    assert not any("network_mode" in service for service in SERVICES.values())


def test_the_engines_cannot_be_reached_from_outside():
    assert COMPOSE["networks"]["engines"]["internal"] is True
    for name in ("postgres", "valkey"):
        assert SERVICES[name]["networks"] == ["engines"]


def test_postgres_is_new_enough_and_sorts_like_dev():
    postgres = SERVICES["postgres"]
    image, _, version = postgres["image"].partition(":")
    assert (image, int(version.split(".")[0]) >= 15) == ("postgres", True)
    arguments = postgres["environment"]["POSTGRES_INITDB_ARGS"].split()
    assert {"--locale-provider=builtin", "--builtin-locale=C.UTF-8"} <= set(arguments)


def test_data_is_in_declared_volumes():
    for name, service in SERVICES.items():
        for volume in service.get("volumes", []):
            assert volume.split(":")[0] in COMPOSE["volumes"], name
    assert "postgres:/var/lib/postgresql" in SERVICES["postgres"]["volumes"]


@pytest.mark.parametrize("name", SERVICES)
def test_every_secret_comes_from_a_declared_file(name):
    service = SERVICES[name]
    assert secrets_of(service) <= COMPOSE["secrets"].keys()
    for variable, value in service.get("environment", {}).items():
        if variable.endswith("_FILE"):
            assert value.removeprefix("/run/secrets/") in secrets_of(service)
        assert not re.search(r"(KEY|PASSWORD|PEPPER|SECRET)$", variable), variable


def test_dev_secrets_makes_exactly_the_files_that_compose_mounts(tmp_path):
    folder = tmp_path / "secrets"
    with Family() as family:
        made = localenv.compose_secrets(family, folder)
        again = localenv.compose_secrets(family, folder)
    assert {f"./secrets/{name}" for name in made} == {
        secret["file"] for secret in COMPOSE["secrets"].values()
    }
    assert again == []
    assert folder.stat().st_mode & 0o777 == 0o700
    key = (folder / "jwt_private_key").read_text()
    assert key.startswith("-----BEGIN PRIVATE KEY")


def test_the_services_run_the_image_that_the_dockerfile_builds():
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert "requirements-dev" not in dockerfile
    assert "--require-hashes" in dockerfile
    user = re.findall(r"^USER (\S+)$", dockerfile, re.MULTILINE)[-1]
    assert user not in ("root", "0")
    for name in ("migrate", "web", "worker", "webhook-worker", "beat"):
        assert SERVICES[name]["build"] == "."


def test_the_image_holds_every_app():
    dockerfile = (ROOT / "Dockerfile").read_text()
    wanted = (ROOT / ".dockerignore").read_text()
    apps = {path.parent.name for path in ROOT.glob("*/apps.py")}
    for app in apps:
        assert f"COPY {app} {app}/" in dockerfile
        assert f"!{app}\n" in wanted
