from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    # An index built concurrently lets movements go on, and needs no transaction.
    atomic = False

    dependencies = [("wallet", "0004_budgets")]

    operations = [
        AddIndexConcurrently(
            model_name="draw",
            index=models.Index(fields=["movement_id"], name="draw_of_movement"),
        )
    ]
