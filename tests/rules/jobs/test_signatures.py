"""Two signature schemes with one secret."""

import shutil
import subprocess
import time
import uuid
from pathlib import Path

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from jobs.webhooks import signatures
from jobs.webhooks.js_stringify import js_stringify

BODY = js_stringify({"event": "job.completed", "data": {"cost": 55.0, "who": "Zoë 😀"}})
EVENT = uuid.UUID("0198f7c1-8d2a-7b3c-9e4f-0123456789ab")
GUIDE = Path(__file__).resolve().parents[3] / "docs" / "guides" / "clipforge.md"


def signed(**more: str) -> dict[str, str]:
    secret = more.pop("secret", None) or signatures.new_secret()
    message = signatures.message_id(EVENT)
    return signatures.headers(
        message=message, at=int(time.time()), body=BODY, secret=secret, **more
    )


def guides_verifier() -> str:
    """The function as the guide prints it, word for word."""
    text = GUIDE.read_text()
    start = text.index("const crypto = require('crypto');\n\nfunction verifyWebhook")
    return text[start : text.index("// In webhook handler")]


def accepted_by_the_guide(tmp_path: Path, secret: str, signature: str) -> bool:
    script = tmp_path / "verify.js"
    asked = (
        "const [secret, body, signature] = process.argv.slice(2);\n"
        "console.log(verifyWebhookSignature(secret, JSON.parse(body), signature));"
    )
    script.write_text(guides_verifier() + asked)
    run = subprocess.run(
        ["node", script, secret, BODY, signature],
        capture_output=True,
        text=True,
        check=True,
    )
    return run.stdout == "true\n"


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_the_guides_verifier_and_standard_webhooks_accept_one_secret(
    tmp_path: Path,
) -> None:
    secret = signatures.new_secret()
    headers = signed(secret=secret)
    assert accepted_by_the_guide(tmp_path, secret, headers["X-Signature"])
    assert not accepted_by_the_guide(tmp_path, "whsec_other", headers["X-Signature"])
    Webhook(secret).verify(BODY, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(signatures.new_secret()).verify(BODY, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(BODY + b" ", headers)


def test_the_guides_header_holds_64_hex_digits_and_nothing_else() -> None:
    headers = signed()
    assert len(headers["X-Signature"]) == 64
    assert set(headers["X-Signature"]) <= set("0123456789abcdef")
    assert headers["webhook-id"] == f"evt_{EVENT.hex}"
    assert "X-Signature-Next" not in headers


def test_during_a_rotation_both_secrets_verify() -> None:
    old, new = signatures.new_secret(), signatures.new_secret()
    headers = signed(secret=old, next_secret=new)
    assert headers["X-Signature"] == signed(secret=old)["X-Signature"]
    assert headers["X-Signature-Next"] == signed(secret=new)["X-Signature"]
    for secret in (old, new):
        Webhook(secret).verify(BODY, headers)


def test_secrets_are_long_and_differ() -> None:
    made = {signatures.new_secret() for _ in range(100)}
    assert len(made) == 100
    assert all(s.startswith("whsec_") and len(s) == 6 + 44 for s in made)
