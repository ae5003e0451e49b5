from django.contrib.postgres.operations import AddConstraintNotValid
from django.db import migrations, models

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
    ("extend", "Extend"),
]


class Migration(migrations.Migration):
    dependencies = [("wallet", "0011_leases_of_verifications")]

    operations = [
        migrations.AlterField(
            model_name="entry",
            name="kind",
            field=models.CharField(choices=KINDS, max_length=9),
        ),
        migrations.RemoveConstraint(
            model_name="entry", name="an_entry_moves_something"
        ),
        # Entries are many: 0013 checks the old ones without blocking a movement.
        AddConstraintNotValid(
            model_name="entry",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("amount_micro__gt", 0),
                    models.Q(
                        ("amount_micro", 0),
                        ("kind__in", ["limit", "terms", "extend"]),
                    ),
                    _connector="OR",
                ),
                name="an_entry_moves_something",
            ),
        ),
    ]
