"""Replace every browser session's key by its digest: accounts.browser_sessions.

Signed-in browsers stay signed in. There is no way back from a digest, so the reverse
ends these sessions.
"""

from django.db import migrations

# Keys have 32 characters, digests 40. Running twice changes nothing.
DIGEST = "left(encode(sha256(convert_to({0}, 'UTF8')), 'hex'), 40)"


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0015_identities_in_words"),
        ("sessions", "0001_initial"),
    ]

    operations = [
        migrations.RunSQL(
            sql=[
                f"UPDATE {table} SET {column} = {DIGEST.format(column)}"
                f" WHERE length({column}) < 40"
                for table, column in (
                    ("django_session", "session_key"),
                    ("accounts_session", "browser_key"),
                )
            ],
            reverse_sql=["DELETE FROM django_session"],
        )
    ]
