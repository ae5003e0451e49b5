"""The product's URLs, the baseline's views, and a view that does nothing.

The baseline has the same authentication, parsing, validation and rendering, so that the
difference is the ledger. It has no grants, no hash chain and no expiry, so it does less
work than the ledger.
"""

from datetime import timedelta

from django.db import transaction
from django.http import HttpResponse
from django.urls import include, path
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt
from rest_framework import viewsets
from rest_framework.response import Response

from accounts.credentials import access
from accounts.partners import apps as partner_apps
from benchmarks.models import BaselineEntry, BaselineJob, BaselineWallet
from focus.contracts.thefocus import TheFocus
from focus.money import from_micro
from jobs.api.thefocus.jobs import WRITE, FinishedJob, NewJob
from wallet.ledger import InsufficientCredits


class BaselineViewSet(TheFocus, viewsets.ViewSet):
    accepts = {"create": WRITE, "complete": WRITE, "nothing": access.PUBLIC}

    def create(self, request):
        serializer = NewJob(data=request.data)
        serializer.is_valid(raise_exception=True)
        new = serializer.validated_data
        app = partner_apps.find_active(new["app"])
        with transaction.atomic():
            wallet = BaselineWallet.objects.select_for_update().get(
                account=request.user
            )
            if wallet.balance_micro < new["cost_estimate"]:
                raise InsufficientCredits("There are not enough credits for this.")
            wallet.balance_micro -= new["cost_estimate"]
            wallet.reserved_micro += new["cost_estimate"]
            wallet.save()
            job = BaselineJob.objects.create(
                wallet=wallet,
                app=app,
                action=new["action"],
                reserved_micro=new["cost_estimate"],
                metadata=new["metadata"],
                expires_at=timezone.now() + timedelta(hours=1),
            )
            _note(wallet, job, "reserve", new["cost_estimate"])
        return Response(
            {
                "job_id": job.pk,
                "status": job.status,
                "reserved": from_micro(job.reserved_micro),
                "credits_remaining": from_micro(wallet.balance_micro),
                "expires_at": job.expires_at,
            },
            status=201,
        )

    def complete(self, request):
        serializer = FinishedJob(data=request.data)
        serializer.is_valid(raise_exception=True)
        done = serializer.validated_data
        with transaction.atomic():
            job = BaselineJob.objects.select_for_update().get(pk=done["job_id"])
            wallet = BaselineWallet.objects.select_for_update().get(pk=job.wallet_id)
            back = job.reserved_micro - done["actual_cost"]
            wallet.balance_micro += back
            wallet.reserved_micro -= job.reserved_micro
            wallet.save()
            job.status = "completed"
            job.charged_micro = done["actual_cost"]
            job.metadata = {**job.metadata, **done["metadata"]}
            job.settled_at = timezone.now()
            job.save()
            _note(wallet, job, "charge", done["actual_cost"])
            _note(wallet, job, "return", back)
        return Response(
            {
                "job": {"id": job.pk, "status": job.status, "metadata": job.metadata},
                "charged": from_micro(job.charged_micro),
                "credits_remaining": from_micro(wallet.balance_micro),
            }
        )

    def nothing(self, request):
        return Response({})


def _note(wallet, job, kind, amount):
    BaselineEntry.objects.create(
        wallet=wallet,
        job=job,
        kind=kind,
        amount_micro=amount,
        balance_after=wallet.balance_micro,
        reserved_after=wallet.reserved_micro,
    )


urlpatterns = [
    path("baseline/jobs", BaselineViewSet.as_view({"post": "create"})),
    path("baseline/jobs/complete", BaselineViewSet.as_view({"post": "complete"})),
    path("baseline/nothing", BaselineViewSet.as_view({"post": "nothing"})),
    path("baseline/bare", csrf_exempt(lambda request: HttpResponse(b"{}"))),
    path("", include("focus.urls")),
]
