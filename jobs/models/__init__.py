"""The tables of this app, one subject a file."""

from jobs.models.files import StoredFile
from jobs.models.hosted import Price, Run
from jobs.models.jobs import Job
from jobs.models.purchases import ToolPurchase
from jobs.models.restorations import Restoration
from jobs.models.usage import Usage
from jobs.models.webhooks import Attempt, Delivery, Endpoint, Event

__all__ = [
    "Attempt",
    "Delivery",
    "Endpoint",
    "Event",
    "Job",
    "Price",
    "Restoration",
    "Run",
    "StoredFile",
    "ToolPurchase",
    "Usage",
]
