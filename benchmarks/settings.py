"""The product's settings, and the baseline for comparison."""

from focus.settings import *  # noqa: F403, TID251 — this is a settings module

INSTALLED_APPS = [*INSTALLED_APPS, "benchmarks"]  # noqa: F405
ROOT_URLCONF = "benchmarks.urls"
LOGGING = {"version": 1, "disable_existing_loggers": True}
# Rate limits count each request and refuse none.
RATE_LIMIT_SCALE = 1_000_000
