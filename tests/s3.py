"""moto's S3 as a process of its own, for the storage in a bucket."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3

from tests import processes

BUCKET = "focus-files"
KEYS = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
REGION = "us-east-1"


@contextmanager
def server(log: Path) -> Iterator[str]:
    """Run the server; gives its address. The bucket exists."""
    port = processes.free_port()
    command = ("moto.server", "-H", "127.0.0.1", "-p", str(port))
    with processes.running(*command, log=log):
        processes.until(lambda: processes.answers(port), seconds=120)
        address = f"http://127.0.0.1:{port}"
        client(address).create_bucket(Bucket=BUCKET)
        yield address


def client(address: str) -> Any:
    return boto3.client("s3", endpoint_url=address, region_name=REGION, **KEYS)


def environment(address: str) -> dict[str, str]:
    """Return the variables that make a process of ours use the bucket."""
    return {
        "FILES_S3_BUCKET": BUCKET,
        "FILES_S3_ENDPOINT_URL": address,
        "FILES_S3_REGION": REGION,
        "FILES_S3_ACCESS_KEY_ID": KEYS["aws_access_key_id"],
        "FILES_S3_SECRET_ACCESS_KEY": KEYS["aws_secret_access_key"],
    }
