import uuid

import django.contrib.postgres.operations
import django.db.models.deletion
from django.db import migrations, models

# As in 0002: nothing in the ledger is ever deleted. A text changes once, when it is
# erased.
GUARDS = """
CREATE TRIGGER never_emptied BEFORE TRUNCATE ON wallet_text
  FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change();
CREATE TRIGGER never_deleted BEFORE DELETE ON wallet_text
  FOR EACH ROW EXECUTE FUNCTION ledger.refuse_change();
CREATE TRIGGER only_erased BEFORE UPDATE ON wallet_text FOR EACH ROW
  WHEN (OLD.said IS NULL OR NEW.said IS NOT NULL OR NEW.id <> OLD.id
    OR NEW.wallet_id <> OLD.wallet_id)
  EXECUTE FUNCTION ledger.refuse_change();
"""
KINDS = [
    ("grant", "Grant"),
    ("repay", "repay debt"),
    ("reserve", "Reserve"),
    ("charge", "Charge"),
    ("return", "Return"),
    ("overage", "Overage"),
    ("overdraft", "Overdraft"),
    ("release", "Release"),
    ("expire", "Expire"),
    ("consume", "Consume"),
    ("adjust", "Adjust"),
    ("lapse", "grant expired"),
    ("claw_back", "claw back"),
    ("reinstate", "Reinstate"),
    ("limit", "limit set"),
    ("terms", "terms recorded"),
]


class Migration(migrations.Migration):
    # Until the new functions are installed, the old ones insert entries of version 1:
    # the new columns stay empty and must allow it.

    dependencies = [("wallet", "0005_draws_by_movement")]

    operations = [
        migrations.CreateModel(
            name="Text",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True,
                        primary_key=True,
                        serialize=False,
                        verbose_name="ID",
                    ),
                ),
                ("salt", models.UUIDField(default=uuid.uuid4, null=True)),
                ("said", models.TextField(null=True)),
                ("erased_at", models.DateTimeField(null=True)),
                (
                    "wallet",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        to="wallet.wallet",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                ("erased_at", None),
                                ("said__isnull", False),
                                ("salt__isnull", False),
                            ),
                            models.Q(
                                ("erased_at__isnull", False),
                                ("said", None),
                                ("salt", None),
                            ),
                            _connector="OR",
                        ),
                        name="a_text_is_there_or_wholly_erased",
                    )
                ],
            },
        ),
        migrations.AddField(
            model_name="entry",
            name="text",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="entries",
                to="wallet.text",
            ),
        ),
        migrations.AddField(
            model_name="entry",
            name="text_digest",
            field=models.BinaryField(max_length=32, null=True),
        ),
        migrations.AddField(
            model_name="entry", name="terms", field=models.TextField(null=True)
        ),
        migrations.AddField(
            model_name="entry",
            name="hash_version",
            field=models.SmallIntegerField(null=True),
        ),
        migrations.AlterField(
            model_name="entry",
            name="kind",
            field=models.CharField(choices=KINDS, max_length=9),
        ),
        migrations.RemoveConstraint(
            model_name="entry", name="an_entry_moves_something"
        ),
        # Entries are many: 0007 looks at them without stopping anything.
        django.contrib.postgres.operations.AddConstraintNotValid(
            model_name="entry",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("amount_micro__gt", 0),
                    models.Q(("amount_micro", 0), ("kind__in", ["limit", "terms"])),
                    _connector="OR",
                ),
                name="an_entry_moves_something",
            ),
        ),
        migrations.RunSQL(GUARDS, migrations.RunSQL.noop),
    ]
