"""The baseline: a balance in a row and a history, through the ORM."""

import uuid

from django.conf import settings
from django.db import models


class BaselineWallet(models.Model):
    account = models.OneToOneField(settings.AUTH_USER_MODEL, on_delete=models.PROTECT)
    balance_micro = models.BigIntegerField(default=0)
    reserved_micro = models.BigIntegerField(default=0)


class BaselineJob(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    wallet = models.ForeignKey(BaselineWallet, on_delete=models.PROTECT)
    app = models.ForeignKey("accounts.App", on_delete=models.PROTECT)
    action = models.CharField(max_length=120)
    status = models.CharField(max_length=9, default="started")
    reserved_micro = models.BigIntegerField()
    charged_micro = models.BigIntegerField(default=0)
    metadata = models.JSONField(default=dict)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()
    settled_at = models.DateTimeField(null=True)


class BaselineEntry(models.Model):
    wallet = models.ForeignKey(BaselineWallet, on_delete=models.PROTECT)
    job = models.ForeignKey(BaselineJob, on_delete=models.PROTECT)
    kind = models.CharField(max_length=9)
    amount_micro = models.BigIntegerField()
    balance_after = models.BigIntegerField()
    reserved_after = models.BigIntegerField()
    created_at = models.DateTimeField(auto_now_add=True)
