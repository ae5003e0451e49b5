"""Every table of this app, one noun a file."""

from jobs.models.jobs import Job

__all__ = ["Job"]
