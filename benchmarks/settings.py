"""The product's settings plus the habit it is measured against."""

from focus.settings import *  # noqa: F403, TID251 — this is a settings module

INSTALLED_APPS = [*INSTALLED_APPS, "benchmarks"]  # noqa: F405
ROOT_URLCONF = "benchmarks.urls"
LOGGING = {"version": 1, "disable_existing_loggers": True}
# As many requests as the machine can do, each of them counted.
RATE_LIMIT_SCALE = 1_000_000
