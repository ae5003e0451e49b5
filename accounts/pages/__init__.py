"""Pages for people: the account, signing in and out, approving a device."""

from django.urls import path

from accounts.pages import account, device, passkeys, signin

urlpatterns = [
    path("", account.home),
    path("tokens/<uuid:token_id>/revoke", account.revoke_token),
    path("sessions/<uuid:session_id>/end", account.end_session),
    path("apps/<uuid:app_id>/revoke", account.revoke_app),
    path("passkeys/<uuid:passkey_id>/remove", passkeys.remove),
    path("signin", signin.page),
    path("signout", signin.sign_out),
    path("device", device.page),
    path(".well-known/jwks.json", account.jwks),
]
