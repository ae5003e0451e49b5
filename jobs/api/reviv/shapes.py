"""Bodies of the restorations' endpoints, with examples for the OpenAPI document."""

from typing import Any

from rest_framework import serializers

from accounts.credentials.access import Access, Bound
from accounts.credentials.principals import Kind
from focus.errors import NotFound
from jobs.hosted import runs
from jobs.hosted.restorations import photos
from jobs.models import Restoration

PERSON = Access(frozenset({Kind.JWT}), bound=Bound.PRODUCT)
# What a BigAutoField holds.
_LARGEST_ID = 2**63 - 1
FAILED = "Restoration failed"


class RestorationBody(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    original_image_url = serializers.URLField(
        allow_null=True,
        help_text="The photo as it was uploaded, without its metadata. Each address"
        " works for 24 hours; read it again for a new one.",
    )
    restored_preview_url = serializers.URLField(
        allow_null=True, help_text="With a watermark; null until completed."
    )
    restored_full_url = serializers.URLField(
        allow_null=True, help_text="null until unlocked."
    )
    status = serializers.ChoiceField([*photos.STATUSES.values()])
    unlock_method = serializers.ChoiceField(
        Restoration.UnlockMethod.choices, allow_null=True
    )
    unlocked_at = serializers.DateTimeField(allow_null=True)
    is_unlocked = serializers.BooleanField()
    created_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField()


class StatusBody(serializers.Serializer[Any]):
    job_id = serializers.IntegerField()
    status = serializers.ChoiceField([*photos.STATUSES.values()])
    preview_url = serializers.URLField(allow_null=True)
    error = serializers.CharField(
        allow_null=True, help_text="`Restoration failed`, or null."
    )
    progress = serializers.IntegerField(min_value=0, max_value=100)
    message = serializers.CharField(
        help_text="What a waiting photo waits for, or why it failed; else empty."
    )
    report = serializers.DictField(
        allow_null=True,
        help_text="Completed: what the engine measured and did, by which engine, and"
        " why it changed nothing. Failed: `code`, `sentence` and `change`, which says"
        " what to do.",
    )


class Accepted(serializers.Serializer[Any]):
    job_id = serializers.IntegerField()
    status = serializers.CharField(help_text="Always `pending`.")


class Deleted(serializers.Serializer[Any]):
    message = serializers.CharField()
    status = serializers.CharField(help_text="Always `ok`.")


class FullImage(serializers.Serializer[Any]):
    full_image_url = serializers.URLField()


class PaidImage(FullImage):
    credits_remaining = serializers.CharField()


class Instagram(serializers.Serializer[Any]):
    type = serializers.ChoiceField(["manual"])
    caption = serializers.CharField()
    deep_link = serializers.CharField()


class ShareAddresses(serializers.Serializer[Any]):
    facebook = serializers.URLField()
    twitter = serializers.URLField()
    linkedin = serializers.URLField()
    pinterest = serializers.URLField()
    instagram = Instagram()


def id_of(text: str) -> int:
    """Return a restoration's id as a path spells it. Raises `NotFound` for any other.

    A path that is no number is no wrong path: it is an unknown photo.
    """
    found = id_or_none(text)
    if found is None:
        raise NotFound("You have no such photo.")
    return found


def id_or_none(text: str) -> int | None:
    """Return a restoration's id as a path spells it, or None for any other text."""
    is_number = text.isascii() and text.isdigit() and len(text) < len(str(_LARGEST_ID))
    return int(text) if is_number else None


def status_body(restoration: Restoration) -> dict[str, Any]:
    """Return the guide's status, with the progress and the report beside it."""
    status, run = photos.status_of(restoration), restoration.run
    seen = runs.status_of(run)
    report: Any = None
    message = seen.message
    if status == "completed":
        report = (run.report or {}).get("report")
    elif status == "failed":
        # A run that staff cancelled has no error of its own.
        message = run.error_sentence or runs.CANCELLED
        report = {
            "code": run.error_code or "cancelled",
            "sentence": message,
            "change": run.error_change if run.error_code else "Upload the photo again.",
        }
    return {
        "job_id": restoration.pk,
        "status": status,
        "preview_url": photos.addresses_of(restoration).preview,
        "error": FAILED if status == "failed" else None,
        "progress": seen.percent,
        "message": message,
        "report": report,
    }


def restoration_body(restoration: Restoration) -> dict[str, Any]:
    """Return the guide's `RestorationJobSerializer`."""
    addresses = photos.addresses_of(restoration)
    return {
        "id": restoration.pk,
        "original_image_url": addresses.original,
        "restored_preview_url": addresses.preview,
        "restored_full_url": addresses.full,
        "status": photos.status_of(restoration),
        "unlock_method": restoration.unlock_method,
        "unlocked_at": restoration.unlocked_at,
        "is_unlocked": restoration.unlocked_at is not None,
        "created_at": restoration.created_at,
        "expires_at": restoration.expires_at,
    }


_FILES = "http://localhost:8000/files/"
STATUS = {
    "job_id": 123,
    "status": "completed",
    "preview_url": f"{_FILES}b7Jr.1vPjzK.x2/grandmother-preview.jpg",
    "error": None,
    "progress": 100,
    "message": "",
    "report": {
        "unchanged": False,
        "steps": [
            {"step": "denoise", "engine": "waifu2x", "why": "The photo is noisy."}
        ],
        "not_done": [],
        "before": {"noise": {"sigma": 12.1, "floor": 11.0, "evenness": 0.8}},
        "after": {"noise": {"sigma": 1.9, "floor": 1.2, "evenness": 0.7}},
        "seconds": 5.6,
    },
}
WAITING = {
    "job_id": 123,
    "status": "pending",
    "preview_url": None,
    "error": None,
    "progress": 0,
    "message": "waiting: 3 before you",
    "report": None,
}
RESTORATION = {
    "id": 123,
    "original_image_url": f"{_FILES}a9Kq.1vPjzK.z8/grandmother.jpg",
    "restored_preview_url": f"{_FILES}b7Jr.1vPjzK.x2/grandmother-preview.jpg",
    "restored_full_url": None,
    "status": "completed",
    "unlock_method": None,
    "unlocked_at": None,
    "is_unlocked": False,
    "created_at": "2026-01-31T12:00:00Z",
    "expires_at": "2026-04-01T12:00:00Z",
}
PAID = {
    "full_image_url": f"{_FILES}c1Xw.1vPjzK.q5/grandmother-restored.jpg",
    "credits_remaining": "4.00",
}
_SHARE = "http://localhost:8000/api/restorations/123/share-redirect"
_TOKEN = "eyJhIjoiOGQzIiwiciI6MTIzfQ:1vPjzK:Yd1"  # noqa: S105 — an example
SHARE = {
    **{
        name: f"{_SHARE}/{name}/?s={_TOKEN}"
        for name in ("facebook", "twitter", "linkedin", "pinterest")
    },
    "instagram": {
        "type": "manual",
        "caption": "I just restored an old photo with reviv.pics.",
        "deep_link": "instagram://app",
    },
}
