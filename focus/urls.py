"""Every public prefix on one screen. Each app serves its own slice of each guide."""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

from focus import docs, health

handler400 = "focus.fallback.bad_request"
handler403 = "focus.fallback.forbidden"
handler404 = "focus.fallback.not_found"
handler500 = "focus.fallback.server_error"

urlpatterns = [
    path("", include("accounts.pages")),  # signin, device, account
    path("", include("payments.pages")),  # credits/buy, payment/success, cancelled
    path("", include("jobs.pages")),  # webhooks
    path("docs", RedirectView.as_view(url="/api/docs")),
    path("admin", RedirectView.as_view(url="/admin/")),
    path("admin/", admin.site.urls),
    # The Focus API      account.thefocus.ai     no trailing slash
    path("api/", include(docs.thefocus)),  # docs, openapi.json
    path("api/", include("accounts.api.thefocus")),  # sessionToken, device/*
    path("api/", include("accounts.api.thefocus_tokens")),  # tokens/*
    path("api/", include("accounts.api.thefocus_sessions")),  # sessions/*
    path("api/", include("accounts.api.thefocus_oauth")),  # xToken, oauthToken/*, xMe
    path("api/", include("wallet.api.thefocus")),  # wallet
    path("api/", include("wallet.api.thefocus_apps")),  # apps, apps/{slug}/limit
    path("api/", include("jobs.api.thefocus")),  # jobs, jobs/complete, jobs/fail
    # Cosmiv             api.cosmiv.com          no trailing slash
    path("", include(health.cosmiv)),  # health
    path("api/", include("accounts.api.cosmiv")),  # auth/register, login, refresh
    path("api/", include("payments.api.cosmiv")),  # v2/billing/*
    # 1sub               1sub.io                 no trailing slash
    path("api/", include("accounts.api.onesub")),  # v1/verify-user
    path("api/", include("jobs.api.onesub")),  # v1/credits/consume, checkout/*
    path("api/v2/accounts/", include("accounts.api.cosmiv_accounts")),
    # reviv.pics                                 trailing slash
    path("api/", include("accounts.api.reviv")),  # auth/token/refresh/, me/, logout/
    path("api/", include("accounts.api.reviv_oauth")),  # auth/oauth/*
    path("api/", include("accounts.api.reviv_passkeys")),  # auth/[email-]passkey/*
    path("api/", include("payments.api.reviv")),  # credits/packs/, purchase/, webhook/
    path("api/", include("wallet.api.reviv")),  # credits/transactions/
    path("api/", include(health.reviv)),  # health/
    path("api/", include(docs.reviv)),  # "", schema/, docs/, redoc/
    path("", include(docs.root)),  # api
    # ClipForge          api.clipforge.dev       no trailing slash
    path("v1/", include("accounts.api.clipforge")),  # auth/*, api-keys
    path("v1/", include("jobs.api.clipforge")),  # projects
    path("v1/", include("jobs.api.clipforge_webhooks")),  # webhooks/endpoints
    path("v1/", include("jobs.api.clipforge_deliveries")),  # webhooks/deliveries
]
