"""Every public prefix on one screen, grouped by contract.

Each app serves its own slice of each guide. Comments name the paths below a prefix.
"""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

from focus import health
from focus.openapi import docs

handler400 = "focus.web.fallback.bad_request"
handler403 = "focus.web.fallback.forbidden"
handler404 = "focus.web.fallback.not_found"
handler500 = "focus.web.fallback.server_error"

people = [
    path("", include("accounts.pages")),  # signin, device, account, security
    path("", include("payments.pages")),  # credits, credits/buy, payment/success
    path("", include("jobs.pages")),  # webhooks
    path("docs", RedirectView.as_view(url="/api/docs")),
    path("admin", RedirectView.as_view(url="/admin/")),
    path("admin/", admin.site.urls),
]

# account.thefocus.ai, without trailing slashes
thefocus = [
    path("api/", include(docs.thefocus)),  # docs, openapi.json
    path("api/", include("accounts.api.thefocus.session_and_device")),
    path("api/", include("accounts.api.thefocus.tokens")),  # tokens/*
    path("api/", include("accounts.api.thefocus.sessions")),  # sessions/*
    path("api/", include("accounts.api.thefocus.oauth")),  # xToken, oauthToken/*, xMe
    path("api/", include("wallet.api.thefocus.wallet")),  # wallet
    path("api/", include("wallet.api.thefocus.apps")),  # apps, apps/{slug}/limit
    path("api/", include("jobs.api.thefocus.jobs")),  # jobs, jobs/complete, jobs/fail
    path("api/", include("jobs.api.thefocus.extensions")),  # jobs/{id}/extend
]

# api.cosmiv.com, without trailing slashes
cosmiv = [
    path("", include(health.cosmiv)),  # health
    path("api/", include("accounts.api.cosmiv.auth")),  # auth/*
    path("api/v2/accounts/", include("accounts.api.cosmiv.linked_accounts")),
    path("api/", include("payments.api.cosmiv")),  # v2/billing/*
]

# 1sub.io, without trailing slashes
onesub = [
    path("api/", include("accounts.api.onesub")),  # v1/verify-user
    path("api/", include("jobs.api.onesub")),  # v1/credits/consume, checkout/*
]

# reviv.pics, with trailing slashes
reviv = [
    path("api/", include("accounts.api.reviv.auth")),  # auth/*
    path("api/", include("accounts.api.reviv.oauth")),  # auth/oauth/*
    path("api/", include("accounts.api.reviv.passkeys")),  # auth/[email-]passkey/*
    path("api/", include("payments.api.reviv")),  # credits/{packs,purchase,webhook}/
    path("api/", include("wallet.api.reviv")),  # credits/transactions/
    path("api/", include("jobs.api.reviv.restorations")),  # restorations/*
    path("api/", include("jobs.api.reviv.unlocking")),  # restorations/{id}/[…]unlock/…
    path("api/", include(health.reviv)),  # health/
    path("api/", include(docs.reviv)),  # "", schema/, docs/, redoc/
]

# api.clipforge.dev, without trailing slashes
clipforge = [
    path("v1/", include("accounts.api.clipforge")),  # auth/*, api-keys
    path("v1/", include("jobs.api.clipforge.usage")),  # projects
    path("v1/", include("jobs.api.clipforge.webhooks")),  # webhooks/endpoints
    path("v1/", include("jobs.api.clipforge.deliveries")),  # webhooks/deliveries
]

# Signed addresses of files, of every guide
files = [
    path("", include("jobs.api.files")),  # files/{token}/{name}, files/upload/{token}
]

urlpatterns = [
    *people,
    *thefocus,
    *cosmiv,
    *onesub,
    *reviv,
    path("", include(docs.root)),  # api, which leads to the two documents below it
    *clipforge,
    *files,
]
