import django.core.validators
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0005_passkeys'),
    ]

    operations = [
        migrations.AddField(
            model_name='app',
            name='rate_limit_per_minute',
            field=models.PositiveIntegerField(blank=True, help_text='Requests a minute for each of its keys; empty for the usual.', null=True, validators=[django.core.validators.MinValueValidator(1)]),
        ),
        migrations.AddField(
            model_name='user',
            name='rate_limit_per_minute',
            field=models.PositiveIntegerField(blank=True, null=True, validators=[django.core.validators.MinValueValidator(1)]),
        ),
    ]
