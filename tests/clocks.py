"""The database's clock, which decides what is due."""

from datetime import datetime

from django.db import connection


def database_time() -> datetime:
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        at: datetime = cursor.fetchone()[0]
    return at
