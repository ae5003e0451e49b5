from django.db import migrations, models

# The entries of a reservation say who asked for it. A finished job needs no answer.
WHO = """
UPDATE jobs_job j SET started_by_app = true FROM wallet_entry e
WHERE e.job_id = j.id AND e.kind = 'reserve' AND e.actor LIKE 'app:%'
  AND j.status IN ('started', 'expired')
"""


class Migration(migrations.Migration):

    dependencies = [
        ('jobs', '0008_what_was_charged_when'),
        ('wallet', '0004_budgets'),
    ]

    operations = [
        migrations.AddField(
            model_name='job',
            name='started_by_app',
            field=models.BooleanField(db_default=False, default=False),
        ),
        migrations.RunSQL(WHO, migrations.RunSQL.noop),
    ]
