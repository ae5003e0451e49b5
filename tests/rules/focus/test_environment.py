"""Bad values of the environment stop the start of a production server, by name."""

import os
import re
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from django.core.exceptions import ImproperlyConfigured

ROOT = Path(__file__).resolve().parents[3]
STRONG = "0123456789abcdef" * 4
WEAK = ["", " ", "short", STRONG[:31], "a" * 64]

Start = Callable[..., dict[str, Any]]


def pem(key: Any) -> str:
    form = serialization.PrivateFormat.PKCS8
    made: bytes = key.private_bytes(
        serialization.Encoding.PEM, form, serialization.NoEncryption()
    )
    return made.decode()


def public_pem(key: Any) -> str:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    made: bytes = key.public_key().public_bytes(serialization.Encoding.PEM, form)
    return made.decode()


SIGNING = ec.generate_private_key(ec.SECP256R1())
ANCHOR = ed25519.Ed25519PrivateKey.generate()
ANCHOR_BEFORE = ed25519.Ed25519PrivateKey.generate()
OTHER_CURVE = ec.generate_private_key(ec.SECP384R1())
RSA = rsa.generate_private_key(65537, 2048)
WEAK_RSA = rsa.generate_private_key(65537, 1024)


def production(folder: Path) -> dict[str, str]:
    """All that a production server needs, and nothing of this machine."""
    return {
        "PATH": os.environ["PATH"],
        "FOCUS_VAR": str(folder),
        "SECRET_KEY": STRONG,
        "TOKEN_PEPPER": STRONG,
        "SEALING_KEY": STRONG,
        "JWT_PRIVATE_KEY": pem(SIGNING),
        "ANCHOR_PRIVATE_KEY": pem(ANCHOR) + public_pem(ANCHOR_BEFORE),
        "DATABASE_URL": "postgresql://focus@localhost/focus",
        "REDIS_URL": "redis://localhost:6379/0",
        "PUBLIC_BASE_URL": "https://focus.example",
        "BEHIND_TLS_PROXY": "1",
    }


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    """Read the settings as a new process would, with some variables changed."""

    def starts(**changed: str | None) -> dict[str, Any]:
        wanted = {**production(tmp_path), **changed}
        given = {name: value for name, value in wanted.items() if value is not None}
        monkeypatch.setattr(os, "environ", given)
        return runpy.run_path(str(ROOT / "focus" / "settings.py"))

    return starts


def test_a_production_server_starts(start: Start) -> None:
    settings = start()
    assert settings["LOCAL"] is False
    assert settings["DEBUG"] is False
    assert settings["ALLOWED_HOSTS"] == ["focus.example"]
    assert settings["SEALING_KEYS"] == [STRONG]


BAD: dict[str, list[str]] = {
    "SECRET_KEY": WEAK,
    "SECRET_KEY_FALLBACKS": [*WEAK[2:], f"{STRONG},", f"{STRONG},,{STRONG}"],
    "TOKEN_PEPPER": WEAK,
    "SEALING_KEY": [
        *WEAK,
        ",",
        f"{STRONG},",
        f",{STRONG}",
        f"{STRONG},,{STRONG}",
        f"{STRONG},short",
    ],
    "JWT_PRIVATE_KEY": [
        "",
        "garbage",
        STRONG,
        public_pem(SIGNING),
        pem(OTHER_CURVE),
        pem(RSA),
        pem(SIGNING) + "more",
        pem(SIGNING) + pem(OTHER_CURVE),
        pem(SIGNING) + public_pem(SIGNING),
        pem(SIGNING).replace("M", "N", 1),
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----",
    ],
    "ANCHOR_PRIVATE_KEY": [
        "",
        "garbage",
        STRONG,
        pem(SIGNING),
        public_pem(ANCHOR),
        public_pem(ANCHOR_BEFORE) + pem(ANCHOR),
        pem(ANCHOR) + public_pem(SIGNING),
        pem(ANCHOR) + "more",
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----",
    ],
    "DEBUG": ["1", "yes", "true"],
    "PORT": ["0", "65536", "-1", "http", "80.0"],
    "PUBLIC_BASE_URL": [
        "focus.example",
        "ftp://focus.example",
        "https://",
        "https://focus.example/path",
        "https://user@focus.example",
        "https://Focus.example",
        "https://focus.example:port",
        "https://a b.example",
    ],
    "FRONTEND_URL": ["focus.example", "javascript:alert(1)", "https://x.example/?a"],
    "CORS_ALLOWED_ORIGINS": [
        "*",
        "null",
        "https://a.example,,https://b.example",
        "https://a.example/",
        "a.example",
    ],
    "ALLOWED_HOSTS": ["*", "https://focus.example", "a.example,,b.example", "a b"],
    "PASSKEY_RP_ID": ["https://focus.example", "focus example"],
    "DATABASE_URL": ["", "nonsense", "https://focus.example/focus"],
    "REDIS_URL": ["", "nonsense", "http://localhost", "redis://", "redis://h:port"],
    "BEHIND_TLS_PROXY": ["yes", "true", "2"],
    "TRUSTED_PROXIES": ["nginx", "10.0.0.0/33", "0.0.0.0/0", "::/0", "10.0.0.1,,"],
    "RATE_LIMIT_SCALE": ["0", "-1", "nan", "inf", "many", ""],
    "RATE_LIMIT_TIMEOUT_SECONDS": ["0", "-1", "soon"],
    "WEB_WORKERS": ["0", "-1", "two", ""],
    "WEB_THREADS": ["0", "1000", ""],
    "WEB_CONNECTIONS_PER_ADDRESS": ["0", "-5", "many"],
    "WEB_ACCESS_LOG": ["yes"],
    "PASSWORD_HASHES_AT_ONCE": ["0", "few"],
    "PASSWORD_HASHES_WAITING": ["-1", "few"],
    "STAFF_ADJUST_LIMIT_CREDITS": ["-1", "nan", "much", ""],
    "STAFF_MOST_CREDITS_PER_DOLLAR": ["0", "-1", "many", ""],
    "WEBHOOK_ALLOW_PRIVATE": ["no", "false"],
    "EMAIL_PORT": ["0", "smtp", "99999"],
    "EMAIL_TLS": ["yes"],
    "EMAIL_BACKEND": ["nowhere.Backend", "Backend", ""],
    "DEFAULT_FROM_EMAIL": ["", "postmaster", "a@example.com\nBcc: b@example.com"],
    "LOG_LEVEL": ["LOUD", "info", ""],
    "STRIPE_API_BASE": ["http://stripe.example", "stripe"],
    "STRIPE_WEBHOOK_SECRET": ["whsec_a,,whsec_b", ","],
    "STEAM_OPENID_BASE": ["http://steam.example", "steam", ""],
    "STEAM_API_BASE": ["http://steam.example", ""],
    "X_OAUTH_BASE": ["http://x.example", ""],
    "X_API_BASE": ["http://x.example", "https://user:word@x.example"],
    "GOOGLE_AUTHORIZE_URL": ["http://google.example", ""],
    "GOOGLE_TOKEN_URL": ["http://google.example", ""],
    "GOOGLE_JWKS_URL": ["http://google.example", ""],
    "CLERK_ISSUER": ["http://clerk.example", "clerk"],
    "CLERK_API_BASE": ["http://clerk.example", ""],
    "CLERK_PROFILE_URL": ["http://clerk.example", "profile"],
    "CLERK_JWKS_URL": ["http://clerk.example"],
    "CLERK_JWT_KEY": ["garbage", pem(RSA), public_pem(SIGNING), public_pem(WEAK_RSA)],
    "FOCUS_TESTING": ["1", "yes"],
    "FILES_QUOTA_BYTES": ["0", "-1", "10 GB", ""],
    "FILES_LEAST_FREE_BYTES": ["-1", "2G", ""],
    "FILES_S3_ENDPOINT_URL": ["http://s3.example", "s3.example"],
    "FILES_S3_ALLOW_HTTP": ["yes"],
}
SECRET = {"SECRET_KEY", "TOKEN_PEPPER", "SEALING_KEY", "JWT_PRIVATE_KEY"} | {
    "ANCHOR_PRIVATE_KEY"
}
CLERK = {"CLERK_ISSUER": "https://clerk.example", "CLERK_JWT_KEY": public_pem(RSA)}
NEEDED = {
    "CLERK_JWKS_URL": CLERK,
    "CLERK_JWT_KEY": CLERK,
    "CLERK_ISSUER": CLERK,
    "FILES_S3_ENDPOINT_URL": {"FILES_S3_BUCKET": "focus"},
    "FILES_S3_ALLOW_HTTP": {"FILES_S3_BUCKET": "focus"},
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_value_is_refused_by_name(start: Start, name: str) -> None:
    for value in BAD[name]:
        with pytest.raises(ImproperlyConfigured) as refusal:
            start(**{**NEEDED.get(name, {}), name: value})
        assert re.match(rf"(Set )?{name}\b", str(refusal.value)), value
        # The log of a start that failed must not hold a secret.
        if name in SECRET and len(value) > 5:
            assert value not in str(refusal.value)


@pytest.mark.parametrize(
    "name",
    [
        "SECRET_KEY",
        "TOKEN_PEPPER",
        "SEALING_KEY",
        "JWT_PRIVATE_KEY",
        "ANCHOR_PRIVATE_KEY",
        "DATABASE_URL",
        "REDIS_URL",
    ],
)
def test_a_missing_value_is_named(start: Start, name: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=rf"Set {name} or {name}_FILE"):
        start(**{name: None})


def test_a_file_of_a_secret_is_read_and_held_to_the_same(
    start: Start, tmp_path: Path
) -> None:
    file = tmp_path / "pepper"
    for text, why in (
        (f"{STRONG}\n", None),
        ("short\n", "TOKEN_PEPPER is too weak"),
        ("\n", "TOKEN_PEPPER_FILE names an empty file"),
        ("a\x00" * 32, "TOKEN_PEPPER holds a NUL"),
    ):
        file.write_text(text)
        given = {"TOKEN_PEPPER": None, "TOKEN_PEPPER_FILE": str(file)}
        if why is None:
            assert start(**given)["TOKEN_PEPPER"] == STRONG
            continue
        with pytest.raises(ImproperlyConfigured, match=why):
            start(**given)
    with pytest.raises(ImproperlyConfigured, match="TOKEN_PEPPER_FILE cannot be read"):
        start(TOKEN_PEPPER=None, TOKEN_PEPPER_FILE=str(tmp_path / "none"))
    with pytest.raises(ImproperlyConfigured, match="both set"):
        start(TOKEN_PEPPER_FILE=str(file))


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"GOOGLE_CLIENT_ID": "x"}, "GOOGLE_CLIENT_SECRET"),
        ({"GOOGLE_CLIENT_SECRET": "x"}, "GOOGLE_CLIENT_ID"),
        ({"X_CLIENT_ID": "x"}, "X_CLIENT_SECRET"),
        ({"X_CLIENT_SECRET": "x"}, "X_CLIENT_ID"),
        ({"EMAIL_HOST_USER": "x"}, "EMAIL_HOST_PASSWORD"),
        ({"EMAIL_HOST_PASSWORD": "x"}, "EMAIL_HOST_USER"),
        ({"CLERK_ISSUER": "https://clerk.example"}, "CLERK_ISSUER"),
        ({"CLERK_SECRET_KEY": "x"}, "CLERK_SECRET_KEY"),
        ({"CLERK_JWKS_URL": "https://clerk.example/jwks"}, "CLERK_JWKS_URL"),
        ({"STRIPE_SECRET_KEY": "sk_live_x"}, "STRIPE_SECRET_KEY"),
        (
            {"FILES_S3_BUCKET": "focus", "FILES_S3_ACCESS_KEY_ID": "x"},
            "FILES_S3_SECRET_ACCESS_KEY",
        ),
        ({"FILES_S3_REGION": "eu-central-1"}, "FILES_S3_REGION"),
        ({"FILES_S3_SECRET_ACCESS_KEY": "x"}, "FILES_S3_SECRET_ACCESS_KEY"),
    ],
)
def test_half_of_a_pair_is_refused(
    start: Start, given: dict[str, str], named: str
) -> None:
    with pytest.raises(ImproperlyConfigured, match=rf"^{named}\b"):
        start(**given)


def test_good_values_are_taken(start: Start) -> None:
    settings = start(
        SEALING_KEY=f"{STRONG}, {STRONG[::-1]}",
        JWT_PRIVATE_KEY=f"{pem(SIGNING)}\n{pem(SIGNING)}",
        TRUSTED_PROXIES="10.0.0.0/8, unix, 2001:db8::/32",
        CORS_ALLOWED_ORIGINS="https://a.example,http://localhost:3000",
        REDIS_PASSWORD="p@ss/word",
        RATE_LIMIT_SCALE="0.5",
        STAFF_ADJUST_LIMIT_CREDITS="0",
        GOOGLE_TOKEN_URL="http://localhost:9000/token",
        **CLERK,
    )
    assert settings["SEALING_KEYS"] == [STRONG, STRONG[::-1]]
    assert settings["TRUSTED_PROXIES"] == ["10.0.0.0/8", "unix", "2001:db8::/32"]
    assert settings["REDIS_URL"] == "redis://:p%40ss%2Fword@localhost:6379/0"


def test_files_are_on_the_disk_or_in_the_bucket_that_is_named(
    start: Start, tmp_path: Path
) -> None:
    on_disk = start()["STORAGES"]["files"]
    assert on_disk == {"BACKEND": "jobs.files.disk.DiskStorage"}
    secret = tmp_path / "secret"
    secret.write_text("s3cr3t\n")
    named = start(
        FILES_S3_BUCKET="focus",
        FILES_S3_ENDPOINT_URL="http://minio:9000",
        FILES_S3_ALLOW_HTTP="1",
        FILES_S3_ACCESS_KEY_ID="id",
        FILES_S3_SECRET_ACCESS_KEY_FILE=str(secret),
    )["STORAGES"]["files"]
    assert named["BACKEND"] == "jobs.files.bucket.BucketStorage"
    options = named["OPTIONS"]
    assert options["endpoint_url"] == "http://minio:9000"
    assert (options["access_key"], options["secret_key"]) == ("id", "s3cr3t")
    assert options["default_acl"] is None


def test_every_variable_that_the_page_for_operators_lists_is_read() -> None:
    """And every one that is read, is listed there."""
    listed = (ROOT / "docs" / "operations.md").read_text()
    files = ("settings.py", "outgoing/object_storage.py")
    read = "".join((ROOT / "focus" / file).read_text() for file in files)
    names = set(re.findall(r'(?:env|read\.\w+)\(\s*"([A-Z_]+)"', read))
    own = {"FOCUS_TESTING", "FOCUS_VAR", "DEBUG"}
    assert {name for name in names - own if f"`{name}`" not in listed} == set()


@pytest.mark.parametrize(
    "command", [["manage.py", "check", "--deploy"], ["-m", "focus.server"]]
)
@pytest.mark.parametrize(
    ("name", "value"),
    [("TOKEN_PEPPER", "short"), ("SEALING_KEY", "a,,b"), ("FOCUS_TESTING", "1")],
)
def test_check_and_the_server_refuse(
    tmp_path: Path, command: list[str], name: str, value: str
) -> None:
    done = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env=production(tmp_path) | {name: value},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode != 0
    assert f"ImproperlyConfigured: {name}" in done.stderr
