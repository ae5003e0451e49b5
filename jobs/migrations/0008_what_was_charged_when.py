from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    dependencies = [("jobs", "0007_jobs_of_an_app")]

    operations = [
        migrations.AddIndex(
            model_name="job",
            index=models.Index(
                fields=["app", "settled_at"],
                condition=Q(settled_at__isnull=False),
                name="job_settled_of_app",
            ),
        ),
        migrations.AddIndex(
            model_name="job",
            index=models.Index(
                fields=["account", "settled_at"],
                condition=Q(settled_at__isnull=False),
                name="job_settled_of_account",
            ),
        ),
        migrations.AddIndex(
            model_name="usage",
            index=models.Index(
                fields=["account", "created_at"], name="usage_of_an_account"
            ),
        ),
    ]
