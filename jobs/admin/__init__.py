"""Staff's view of work: jobs, what tools charged and sold, who was told of it."""

from jobs.admin import tools, webhooks, work

__all__ = ["tools", "webhooks", "work"]
