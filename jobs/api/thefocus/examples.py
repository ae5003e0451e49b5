"""Example bodies of the jobs routes in the OpenAPI document."""

JOB = {
    "id": "7c9e6679-7425-40de-944b-e07fc1f90ae7",
    "job_id": "7c9e6679-7425-40de-944b-e07fc1f90ae7",
    "app": "video",
    "action": "render",
    "status": "completed",
    "cost_estimate": 5,
    "reserved": 5,
    "actual_cost": 3,
    "charged": 3,
    "refunded": 2,
    "uncovered": 0,
    "late": False,
    "metadata": {"description": "Render completed (1080p)", "durationMs": 1200},
    "created_at": "2026-10-28T10:00:00Z",
    "expires_at": "2026-10-28T11:00:00Z",
    "settled_at": "2026-10-28T10:00:42Z",
}
HOSTED = {
    "id": "0b8f3ad2-5f0e-4f4a-9d53-0a4c5f7a6f11",
    "job_id": "0b8f3ad2-5f0e-4f4a-9d53-0a4c5f7a6f11",
    "app": "reviv",
    "action": "restore",
    "status": "completed",
    "cost_estimate": 0,
    "reserved": 0,
    "actual_cost": 0,
    "charged": 0,
    "refunded": 0,
    "uncovered": 0,
    "late": False,
    "metadata": {
        "description": "Restore grandmother.jpg",
        "previewUrl": "https://account.example.com/files/eyJm…/preview.jpg",
    },
    "created_at": "2026-10-28T09:58:00Z",
    "expires_at": "2026-10-28T10:58:00Z",
    "settled_at": "2026-10-28T09:58:31Z",
}
SETTLED = {
    "job": JOB,
    "charged": 3,
    "refunded": 2,
    "uncovered": 0,
    "credits_remaining": 17,
}
