"""Pages for people: the account, signing in and out, approving a device."""

from django.urls import path

from accounts.pages import account, apps, device, google, passkeys, security, signin

urlpatterns = [
    path("", account.home),
    path("tokens/<uuid:token_id>/revoke", security.revoke_token),
    path("sessions/<uuid:session_id>/end", security.end_session),
    path("apps", apps.page),
    path("apps/<uuid:app_id>/revoke", apps.revoke),
    path("security", security.page),
    path("passkeys/<uuid:passkey_id>/remove", passkeys.remove),
    path("signin", signin.page),
    path("signin/google", google.callback),
    path("signin/continue", google.go_on),
    path("auth/callback", google.arrived),
    path("identities/google/link", google.begin_link),
    path("identities/<uuid:identity_id>/unlink", google.unlink),
    path("signout", signin.sign_out),
    path("device", device.page),
    path(".well-known/jwks.json", account.jwks),
]
