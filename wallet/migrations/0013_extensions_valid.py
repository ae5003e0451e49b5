from django.contrib.postgres.operations import ValidateConstraint
from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("wallet", "0012_extensions")]

    operations = [
        ValidateConstraint(model_name="entry", name="an_entry_moves_something"),
    ]
