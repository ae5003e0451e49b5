from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0019_sold_per_use'),
    ]

    operations = [
        migrations.AddField(
            model_name='app',
            name='starter_credits_at',
            field=models.CharField(choices=[('app', 'at this app only'), ('any', 'at every app')], db_default='app', default='app', max_length=3, verbose_name='starter credits are spent'),
        ),
        migrations.AddField(
            model_name='app',
            name='name_needs_approval',
            field=models.BooleanField(db_default=False, default=False, help_text='The name imitates another app or claims to be official. The app cannot be bought until this is unticked.'),
        ),
    ]
