from django.contrib.postgres.operations import AddIndexConcurrently, ValidateConstraint
from django.db import migrations, models


class Migration(migrations.Migration):
    # Neither stops a movement, and the index needs no transaction.
    atomic = False

    dependencies = [("wallet", "0006_terms_and_texts")]

    operations = [
        ValidateConstraint(model_name="entry", name="an_entry_moves_something"),
        AddIndexConcurrently(
            model_name="entry",
            index=models.Index(
                condition=models.Q(
                    ("grant__isnull", False), ("terms__isnull", False)
                ),
                fields=["grant"],
                name="entry_with_terms",
            ),
        ),
    ]
