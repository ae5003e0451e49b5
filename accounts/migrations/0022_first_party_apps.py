from django.db import migrations

# As in accounts.partners.first_party, when this migration was written.
APPS = {"reviv": "Reviv", "cosmiv": "Cosmiv", "clipforge": "ClipForge"}


def seed(apps, schema_editor):
    App = apps.get_model("accounts", "App")
    for slug, name in APPS.items():
        found, new = App.objects.get_or_create(
            slug=slug, defaults={"name": name, "family": True}
        )
        if new:
            continue
        if found.owner_id is None:
            # The operator's own app becomes the product's. Its people and origins stay.
            App.objects.filter(pk=found.pk).update(
                family=True,
                is_tool=False,
                starter_credits_micro=0,
                overage_policy="cap",
                settle_with_app_key_only=False,
                max_ttl_seconds=86_400,
            )
        else:
            print(
                f"\n  A partner owns the app {slug!r}, so {name} is not available on"
                " this server. The partner's app works as before. See"
                ' "First-party apps" in docs/operations.md.'
            )


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0021_leases_of_queues"),
    ]

    operations = [
        migrations.RunPython(seed, migrations.RunPython.noop, elidable=False),
    ]
