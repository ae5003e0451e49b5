"""Checks of docker-compose.yml and the Dockerfile that need no Docker."""

import ast
import importlib
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml

from devtools.launcher import engines, localenv, run
from devtools.launcher.family import Family
from focus.celery import BEAT_ALIVE, heartbeat_redis, record_heartbeat
from jobs.hosted.restorations import restoring
from tests import processes

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES = COMPOSE["services"]
NGINX = ROOT / "deploy" / "nginx"
TLS = ROOT / "docker-compose.tls.yml"


class Tagged(yaml.SafeLoader):
    """A YAML loader that reads Compose's `!override` tag as a plain list."""


def _plain_list(loader: Tagged, node: Any) -> list[Any]:
    return loader.construct_sequence(node)


Tagged.add_constructor("!override", _plain_list)


def secrets_of(service: dict) -> set[str]:
    return set(service.get("secrets", []))


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_has_a_health_check_and_a_restart_policy(name):
    check = SERVICES[name]["healthcheck"]
    assert check["test"]
    assert "disable" not in check
    assert SERVICES[name]["restart"] != "no"


@pytest.mark.parametrize("name", SERVICES)
def test_a_health_check_in_python_imports_names_that_exist(name):
    command = SERVICES[name]["healthcheck"]["test"]
    code = command[command.index("-c") + 1] if command[1:3] == ["python", "-c"] else ""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom):
            module = importlib.import_module(str(node.module))
            assert all(hasattr(module, alias.name) for alias in node.names), code


def test_the_health_check_of_beat_sees_its_heartbeat():
    code = SERVICES["beat"]["healthcheck"]["test"][-1]
    beat = heartbeat_redis()
    beat.delete(BEAT_ALIVE)
    with pytest.raises(SystemExit) as dead:
        exec(code)
    record_heartbeat(BEAT_ALIVE)
    with pytest.raises(SystemExit) as alive:
        exec(code)
    assert (bool(dead.value.code), bool(alive.value.code)) == (True, False)


@pytest.mark.parametrize("name", SERVICES)
def test_every_depends_on_condition_names_a_service_that_can_meet_it(name):
    for target, how in SERVICES[name].get("depends_on", {}).items():
        assert target in SERVICES
        if how["condition"] == "service_healthy":
            assert "healthcheck" in SERVICES[target]
        else:
            assert how["condition"] == "service_completed_successfully"
            assert target == "migrate"


def test_only_the_proxy_is_published():
    published = [name for name, service in SERVICES.items() if "ports" in service]
    assert published == ["proxy"]
    assert not any("network_mode" in service for service in SERVICES.values())


def test_the_engines_have_an_internal_network_only():
    assert COMPOSE["networks"]["engines"]["internal"] is True
    for name in ("postgres", "valkey"):
        assert SERVICES[name]["networks"] == ["engines"]


def test_postgres_has_the_minimum_version_and_the_collation_of_dev():
    postgres = SERVICES["postgres"]
    image, _, version = postgres["image"].partition(":")
    assert (image, int(version.split(".")[0]) >= 15) == ("postgres", True)
    arguments = postgres["environment"]["POSTGRES_INITDB_ARGS"].split()
    assert {"--locale-provider=builtin", "--builtin-locale=C.UTF-8"} <= set(arguments)


def test_web_trusts_forwarded_headers_of_the_proxy_only():
    web, front = SERVICES["web"], COMPOSE["networks"]["front"]
    subnets = [place["subnet"] for place in front["ipam"]["config"]]
    assert web["environment"]["TRUSTED_PROXIES"] == ",".join(subnets)
    assert front["internal"] is True
    joined = [
        name for name in SERVICES if "front" in SERVICES[name].get("networks", [])
    ]
    assert joined == ["proxy", "web"]
    assert "front" not in SERVICES["migrate"]["networks"]


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_has_minimal_privileges(name):
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["read_only"] is True
    assert "/tmp" in [place.split(":")[0] for place in service["tmpfs"]]


def test_valkey_needs_a_password_that_no_process_list_shows():
    valkey = SERVICES["valkey"]
    script = valkey["command"][-1]
    assert "requirepass" in script
    assert "--requirepass" not in script
    assert secrets_of(valkey) == {"valkey_password"}
    environment = SERVICES["worker"]["environment"]
    assert environment["REDIS_PASSWORD_FILE"] == "/run/secrets/valkey_password"


def test_the_proxy_runs_the_configuration_that_the_tests_run():
    mounted = {volume.split(":")[0] for volume in SERVICES["proxy"]["volumes"]}
    files = {f"./deploy/nginx/{path.name}" for path in NGINX.glob("*.conf")}
    assert mounted - {"bodies"} == files - {"./deploy/nginx/https.conf"}
    with_tls = yaml.load(TLS.read_text(), Loader=Tagged)["services"]["proxy"]
    assert with_tls["volumes"] == [
        "./deploy/nginx/https.conf:/etc/nginx/focus/listen.conf:ro"
    ]


def test_data_is_in_declared_volumes():
    for name, service in SERVICES.items():
        for volume in service.get("volumes", []):
            if volume.startswith("./deploy/") and volume.endswith(":ro"):
                continue
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
    assert set(re.findall(r"^USER (\S+)$", dockerfile, re.MULTILINE)) == {"10001"}
    stages = re.findall(r"^FROM (\S+)(?: AS (\S+))?$", dockerfile, re.MULTILINE)
    python = stages[0][0]
    assert stages == [
        (python, "engine"),
        (python, "server"),
        ("server", "media"),
        ("server", ""),  # the default
    ]
    for name in ("migrate", "web", "worker", "slow-worker", "webhook-worker", "beat"):
        assert SERVICES[name]["build"] == "."


def test_the_media_worker_has_the_engine_and_reaches_only_the_engines():
    worker = SERVICES["media-worker"]
    assert worker["build"] == {"context": ".", "target": "media"}
    assert worker["image"] != SERVICES["web"]["image"]
    assert worker["networks"] == ["engines"]
    assert COMPOSE["networks"]["engines"]["internal"] is True
    # The engine reaches its own limit before the kernel kills the whole container.
    unit = {"g": 1024**3}[worker["mem_limit"][-1]]
    container = int(worker["mem_limit"][:-1]) * unit
    assert restoring.LIMITS.memory_bytes + 512 * 1024**2 <= container
    assert worker["memswap_limit"] == worker["mem_limit"]
    assert "media:/data/media" in worker["volumes"]


def test_the_media_image_holds_the_engine_and_not_its_tests():
    dockerfile = (ROOT / "Dockerfile").read_text()
    media = dockerfile.partition("FROM server AS media")[2]
    assert "COPY media media/" in media
    assert "ENV MEDIA_PYTHON=/opt/media/bin/python" in media
    assert "COPY --from=engine /opt/media /opt/media" in media
    assert "COPY media" not in dockerfile[: dockerfile.index("AS media")].replace(
        "COPY media/requirements.txt", ""
    )
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert ignored.index("!media") < ignored.index("media/tests")


def test_compose_and_the_launcher_start_the_same_services():
    ours = {
        name: [part for part in argv if part not in ("-m", "--quiet")]
        for name, argv in run.services(8000).items()
    }
    for name, argv in ours.items():
        assert name in SERVICES
        if name.endswith("worker"):
            command = SERVICES[name]["command"]
            queue = command[command.index("-Q") + 1]
            assert argv[argv.index("-Q") + 1] == queue
            threads = command[command.index("-c") + 1]
            assert argv[argv.index("--concurrency") + 1] == threads


def test_the_image_holds_every_app():
    dockerfile = (ROOT / "Dockerfile").read_text()
    wanted = (ROOT / ".dockerignore").read_text()
    apps = {path.parent.name for path in ROOT.glob("*/apps.py")}
    for app in apps:
        assert f"COPY {app} {app}/" in dockerfile
        assert f"!{app}\n" in wanted


def test_valkey_starts_as_compose_starts_it(tmp_path):
    """Run the service's own script with temporary folders for the container's."""
    (tmp_path / "valkey_password").write_text("a password")
    _, server = engines.locate()
    script = SERVICES["valkey"]["command"][-1].replace("$$", "$")
    for theirs, ours in (
        ("/run/secrets", tmp_path),
        ("/tmp/own", tmp_path / "own"),
        ("/data", tmp_path),
        ("valkey-server", f"{server} --port 0 --unixsocket {tmp_path}/s"),
    ):
        assert theirs in script
        script = script.replace(theirs, str(ours))
    # valkey-server reads a file only as its first argument.
    script = script.replace(
        f" --port 0 --unixsocket {tmp_path}/s {tmp_path}/own.conf",
        f" {tmp_path}/own.conf --port 0 --unixsocket {tmp_path}/s",
    )
    process = subprocess.Popen(["sh", "-c", script], stdout=subprocess.DEVNULL)
    try:
        processes.until((tmp_path / "s").exists)
        with pytest.raises(redis.AuthenticationError):
            redis.Redis(unix_socket_path=str(tmp_path / "s")).ping()
        url = f"unix://:a%20password@{tmp_path}/s"
        assert redis.Redis.from_url(url).ping()
        process.terminate()
        # `exec` replaced the shell, so signals reach the server.
        assert process.wait(60) == 0
    finally:
        process.kill()
