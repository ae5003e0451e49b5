"""Pages for people: the account, signing in and out, approving a device."""

from django.urls import path

from accounts.pages import (
    account,
    apps,
    device,
    google,
    mailbox,
    passkeys,
    security,
    signin,
    tools,
    vendor,
)

urlpatterns = [
    path("", account.home),
    path("tokens/<uuid:token_id>/revoke", security.revoke_token),
    path("sessions/<uuid:session_id>/end", security.end_session),
    path("apps", apps.page),
    path("apps/<uuid:app_id>/revoke", apps.revoke),
    path("apps/<uuid:app_id>/limit", apps.limit),
    path("security", security.page),
    path("passkeys/<uuid:passkey_id>/remove", passkeys.remove),
    path("signin", signin.page),
    path("signin/google", google.callback),
    path("signin/continue", google.go_on),
    path("forgot", mailbox.forgot),
    path("mailbox", mailbox.page),
    path("email/verify", mailbox.ask),
    path("auth/callback", google.arrived),
    path("identities/google/link", google.begin_link),
    path("identities/<uuid:identity_id>/unlink", google.unlink),
    path("signout", signin.sign_out),
    path("device", device.page),
    path("tools", tools.listed),
    path("tools/<uuid:tool_id>/buy", tools.buy),
    path("purchases/<uuid:purchase_id>", tools.purchase),
    path("vendor", vendor.home),
    path("vendor/<uuid:app_id>", vendor.app),
    path("vendor/<uuid:app_id>/switch", vendor.switch),
    path("vendor/<uuid:app_id>/keys", vendor.new_key),
    path("vendor/<uuid:app_id>/keys/<uuid:key_id>/rotate", vendor.rotate_key),
    path("vendor/<uuid:app_id>/keys/<uuid:key_id>/revoke", vendor.revoke_key),
    path(".well-known/jwks.json", account.jwks),
]
