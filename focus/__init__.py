"""The project: settings, URL map, Celery app, and what the five contracts share."""
