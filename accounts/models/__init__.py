"""Every table of this app, one subject a file."""

from accounts.models.app_keys import AppKey
from accounts.models.apps import App
from accounts.models.clerk_lookups import ClerkLookup
from accounts.models.consents import Consent
from accounts.models.devices import DeviceGrant
from accounts.models.identities import Identity
from accounts.models.links import Link, Sync
from accounts.models.mailbox_proofs import MailboxProof
from accounts.models.mails import Mail
from accounts.models.passkeys import Passkey, PasskeyOwner
from accounts.models.people import User
from accounts.models.replays import Replay
from accounts.models.security_events import SecurityEvent
from accounts.models.sessions import Session
from accounts.models.tokens import PersonalAccessToken
from accounts.models.user_keys import UserKey

__all__ = [
    "App",
    "AppKey",
    "ClerkLookup",
    "Consent",
    "DeviceGrant",
    "Identity",
    "Link",
    "Mail",
    "MailboxProof",
    "Passkey",
    "PasskeyOwner",
    "PersonalAccessToken",
    "Replay",
    "SecurityEvent",
    "Session",
    "Sync",
    "User",
    "UserKey",
]
