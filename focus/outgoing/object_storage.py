"""Where the files of hosted work are: `STORAGES["files"]` of the settings."""

from typing import Any

from focus import environment as read
from focus.environment import env


def file_storage() -> dict[str, Any]:
    """Return the storage of hosted work's files: an S3 bucket, or MEDIA_ROOT.

    Without keys boto3 looks for them where it always does, such as the machine's role.
    """
    names = ("ENDPOINT_URL", "REGION", "ACCESS_KEY_ID", "SECRET_ACCESS_KEY")
    bucket = env("FILES_S3_BUCKET", "")
    if not bucket:
        for name in names:
            read.require_any_of(f"FILES_S3_{name}", "FILES_S3_BUCKET")
        return {"BACKEND": "jobs.files.disk.DiskStorage"}
    read.require_together("FILES_S3_ACCESS_KEY_ID", "FILES_S3_SECRET_ACCESS_KEY")
    local = read.flag("FILES_S3_ALLOW_HTTP", False)
    options: dict[str, Any] = {
        "bucket_name": bucket,
        "endpoint_url": read.url("FILES_S3_ENDPOINT_URL", "", local=local) or None,
        "region_name": env("FILES_S3_REGION", "") or None,
        "access_key": env("FILES_S3_ACCESS_KEY_ID", "") or None,
        "secret_key": env("FILES_S3_SECRET_ACCESS_KEY", "") or None,
        "file_overwrite": True,
        "default_acl": None,
        "client_config": _patience(),
    }
    return {"BACKEND": "jobs.files.bucket.BucketStorage", "OPTIONS": options}


def _patience() -> Any:
    # Imported here: only a server with a bucket pays for boto3's start.
    from botocore.config import Config

    return Config(
        signature_version="s3v4",
        connect_timeout=5,
        read_timeout=30,
        retries={"mode": "standard", "total_max_attempts": 3},
    )
