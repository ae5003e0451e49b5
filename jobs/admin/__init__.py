"""Staff pages of jobs, tool charges, tool purchases and webhooks."""

from jobs.admin import tools, webhooks, work

__all__ = ["tools", "webhooks", "work"]
