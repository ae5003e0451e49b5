"""Staff pages of jobs, hosted work, tool charges, tool purchases and webhooks."""

from jobs.admin import files, hosted, prices, tools, webhooks, work

__all__ = ["files", "hosted", "prices", "tools", "webhooks", "work"]
