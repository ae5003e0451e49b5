"""All settings, read from the environment once.

There is no base/local/production split: the environment is the only difference between
machines. `var/env`, which only `./dev` writes, sets what the environment leaves unset;
its presence means local mode. Without that file every secret must be set: a missing one
stops the start, and the error names it.
"""

import os
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

from focus import environment as read
from focus.admin_site import UNFOLD as UNFOLD
from focus.background import beat
from focus.environment import env
from focus.logs import logging_to_console
from focus.outgoing.object_storage import file_storage

BASE_DIR = Path(__file__).resolve().parent.parent
VAR = Path(os.environ.get("FOCUS_VAR") or BASE_DIR / "var")
LOCAL = read.load_local(VAR)

DEBUG = read.flag("DEBUG", False)
if DEBUG and not LOCAL:
    read.refuse("DEBUG", "shows secrets to every visitor: unset it.")
SECRET_KEY = read.secret("SECRET_KEY")
SECRET_KEY_FALLBACKS = read.secrets_before("SECRET_KEY_FALLBACKS")
# The key of every stored token's digest. A change invalidates all tokens.
TOKEN_PEPPER = read.secret("TOKEN_PEPPER")
# Encrypt stored secrets that must be read again. The first key encrypts, all decrypt.
SEALING_KEYS = read.secrets("SEALING_KEY")
# One or more PEM private keys, ES256. The first signs; all of them verify.
JWT_PRIVATE_KEY = read.signing_keys("JWT_PRIVATE_KEY")
# One or more PEM keys, Ed25519: wallet/anchors.py. The first one signs and is private;
# all of them verify. A retired key may stay as its public half.
ANCHOR_PRIVATE_KEY = read.anchor_keys("ANCHOR_PRIVATE_KEY")

PORT = read.integer("PORT", 8000, most=65535)
PUBLIC_BASE_URL = read.origin("PUBLIC_BASE_URL", f"http://localhost:{PORT}")
FRONTEND_URL = read.origin("FRONTEND_URL", PUBLIC_BASE_URL)
HTTPS = PUBLIC_BASE_URL.startswith("https://")
# The domain of passkeys, if it does not follow from the two URLs above:
# accounts/passkeys/ceremony.py.
PASSKEY_RP_ID = read.domain("PASSKEY_RP_ID")
_PUBLIC_HOST = PUBLIC_BASE_URL.split("://", 1)[-1].split("/", 1)[0]
# The services that linked accounts are verified at. Tests set addresses of their own.
STEAM_OPENID_BASE = read.url(
    "STEAM_OPENID_BASE", "https://steamcommunity.com/openid", local=LOCAL
)
STEAM_API_BASE = read.url("STEAM_API_BASE", "https://api.steampowered.com", local=LOCAL)
STEAM_API_KEY = env("STEAM_API_KEY", "")
X_OAUTH_BASE = read.url("X_OAUTH_BASE", "https://x.com/i/oauth2", local=LOCAL)
read.require_together("X_CLIENT_ID", "X_CLIENT_SECRET")
X_CLIENT_ID = env("X_CLIENT_ID", "")
X_CLIENT_SECRET = env("X_CLIENT_SECRET", "")
_AT_HOME = _PUBLIC_HOST.rsplit(":", 1)[0] in ("localhost", "127.0.0.1", "[::1]")
ALLOWED_HOSTS = read.hosts("ALLOWED_HOSTS", local=LOCAL) or [
    _PUBLIC_HOST.rsplit(":", 1)[0]
]
if LOCAL:
    ALLOWED_HOSTS += ["localhost", "127.0.0.1", "[::1]", "testserver"]

# Sign-in by Clerk (accounts/providers/clerk.py); its tokens are refused while unset.
CLERK_ISSUER = read.url("CLERK_ISSUER", "", local=LOCAL)
read.require_any_of("CLERK_ISSUER", "CLERK_JWT_KEY", "CLERK_JWKS_URL")
for _name in ("CLERK_JWT_KEY", "CLERK_JWKS_URL", "CLERK_SECRET_KEY"):
    read.require_any_of(_name, "CLERK_ISSUER")
# Clerk's public key, or the URL of its keys. The key itself needs no network.
CLERK_JWT_KEY = read.rsa_public_key("CLERK_JWT_KEY")
CLERK_JWKS_URL = read.url("CLERK_JWKS_URL", "", local=LOCAL)
# Gives the suffix of the cookie `__session_…` if other Clerk apps share the domain.
CLERK_PUBLISHABLE_KEY = env("CLERK_PUBLISHABLE_KEY", "")
# Optional, for Clerk's backend API: a user's email and linked accounts.
CLERK_SECRET_KEY = env("CLERK_SECRET_KEY", "")
CLERK_API_BASE = read.url("CLERK_API_BASE", "https://api.clerk.com", local=LOCAL)
# Where users of Clerk manage their linked accounts.
CLERK_PROFILE_URL = f"{PUBLIC_BASE_URL}/"
if env("CLERK_PROFILE_URL", ""):
    CLERK_PROFILE_URL = read.url("CLERK_PROFILE_URL", "", local=LOCAL, query=True)
X_API_BASE = read.url("X_API_BASE", "https://api.twitter.com/2", local=LOCAL)

INSTALLED_APPS = [
    # The theme without its admin site: focus.admin_site.site replaces it.
    "unfold.apps.BasicAppConfig",
    "focus.apps.FocusConfig",
    "focus.apps.StaffSiteConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.humanize",
    "django.contrib.messages",
    "django.contrib.postgres",
    "django.contrib.sessions",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "corsheaders",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "accounts",
    "wallet",
    "jobs",
    "payments",
]

MIDDLEWARE = [
    "focus.web.middleware.RequestId",
    "focus.web.middleware.RateLimits",
    "django.middleware.security.SecurityMiddleware",
    "focus.web.middleware.SecurityHeaders",
    "corsheaders.middleware.CorsMiddleware",
    "focus.web.middleware.RefuseNul",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "focus.web.middleware.WrongMethod",
    "focus.web.middleware.DatabaseGone",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]

ROOT_URLCONF = "focus.urls"
WSGI_APPLICATION = "focus.wsgi.application"
# The guides require this: /api/docs (Focus) and /api/docs/ (reviv) are two pages, and
# a redirect would drop the body of a POST.
APPEND_SLASH = False

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "focus" / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

DATABASES = {"default": read.database("DATABASE_URL")}
REDIS_URL = read.redis_url("REDIS_URL", "REDIS_PASSWORD")
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_USER_MODEL = "accounts.User"
SILENCED_SYSTEM_CHECKS = [
    # The constraint `an_email_has_one_account` makes emails unique in any case; the
    # check knows `unique=True` only.
    "auth.E003",
    # focus.web.middleware.SecurityHeaders sends X-Frame-Options.
    "security.W002",
]
AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.ModelBackend"]
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
LOGIN_URL = "/signin"

# Django's own engine stores the session key of the cookie in clear text.
SESSION_ENGINE = "accounts.signin.browser_sessions"
SESSION_COOKIE_NAME = "__Host-focus_session" if HTTPS else "focus_session"
SESSION_COOKIE_SECURE = HTTPS
SESSION_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_NAME = "__Host-focus_csrf" if HTTPS else "focus_csrf"
CSRF_COOKIE_SECURE = HTTPS
CSRF_COOKIE_HTTPONLY = True
CSRF_FAILURE_VIEW = "focus.web.fallback.csrf_failure"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_HSTS_SECONDS = 31_536_000 if HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = HTTPS
SECURE_HSTS_PRELOAD = HTTPS
SECURE_SSL_REDIRECT = HTTPS
# Health checks come from inside, over plain HTTP without TLS.
SECURE_REDIRECT_EXEMPT = [r"^health/?$", r"^api/health/?$"]
if read.flag("BEHIND_TLS_PROXY", False):
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

# Exact origins; accounts/partners/origins.py adds those of registered apps.
CORS_ALLOWED_ORIGINS = sorted(
    {PUBLIC_BASE_URL, FRONTEND_URL, *read.origins("CORS_ALLOWED_ORIGINS")}
)
CORS_ALLOW_CREDENTIALS = True
CORS_URLS_REGEX = r"(?i)^/+(api|v1)/.*$"
CORS_ALLOW_HEADERS = (
    "accept",
    "authorization",
    "baggage",
    "content-type",
    "idempotency-key",
    "sentry-trace",
    "traceparent",
    "tracestate",
    "x-api-key",
    "x-code-verifier",
    "x-request-id",
    "x-requested-with",
)
CORS_EXPOSE_HEADERS = (
    "idempotent-replayed",
    "ratelimit",
    "ratelimit-policy",
    "retry-after",
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    "x-request-id",
)

USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en-us"
# ISO dates with their time zone wherever a template names no format, as in the admin.
FORMAT_MODULE_PATH = ["focus.formats"]
STATIC_URL = "/static/"
STATIC_ROOT = Path(env("STATIC_ROOT", str(BASE_DIR / "var" / "static")))
MEDIA_ROOT = Path(env("MEDIA_ROOT", str(BASE_DIR / "var" / "media")))
# What an account's files may take, and what stays free: jobs/files/quotas.py.
FILES_QUOTA_BYTES = read.integer("FILES_QUOTA_BYTES", 10 * 1024**3, most=1024**5)
FILES_LEAST_FREE_BYTES = read.integer(
    "FILES_LEAST_FREE_BYTES", 2 * 1024**3, least=0, most=1024**5
)
MEDIA_PYTHON = Path(env("MEDIA_PYTHON", str(BASE_DIR / ".venv-media/bin/python")))
MEDIA_WORK_FOLDER = Path(env("MEDIA_WORK_FOLDER", str(MEDIA_ROOT / "work")))
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "files": file_storage(),
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if LOCAL
        else "whitenoise.storage.CompressedManifestStaticFilesStorage"
    },
}
WHITENOISE_USE_FINDERS = LOCAL
# In local mode mails are files; /dev/mail shows them, on localhost only.
LOCAL_MAIL_FOLDER = VAR / "mail"
LOCAL_MAIL_PAGE = LOCAL and _AT_HOME and not HTTPS
EMAIL_BACKEND = read.backend(
    "EMAIL_BACKEND",
    "focus.outgoing.local_mail.Backend"
    if LOCAL
    else "django.core.mail.backends.smtp.EmailBackend",
)
EMAIL_HOST = env("EMAIL_HOST", "localhost")
EMAIL_PORT = read.integer("EMAIL_PORT", 25, most=65535)
read.require_together("EMAIL_HOST_USER", "EMAIL_HOST_PASSWORD")
EMAIL_HOST_USER = env("EMAIL_HOST_USER", "")
EMAIL_HOST_PASSWORD = env("EMAIL_HOST_PASSWORD", "")
EMAIL_USE_TLS = read.flag("EMAIL_TLS", False)
# Shorter than the wait after which another worker tries the same mail.
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = read.email("DEFAULT_FROM_EMAIL", "Focus <no-reply@thefocus.ai>")

# The web server, focus/server/: its address, and its processes, threads and limits.
WEB_HOST = env("WEB_HOST", "127.0.0.1")
WEB_SOCKET = env("WEB_SOCKET", "")
WEB_WORKERS = read.integer("WEB_WORKERS", 1, most=256)
WEB_THREADS = read.integer("WEB_THREADS", 4, most=256)
# Connections of one address at a time, in each process; trusted proxies have no cap.
WEB_CONNECTIONS_PER_ADDRESS = read.integer("WEB_CONNECTIONS_PER_ADDRESS", 200)
WEB_ACCESS_LOG = read.flag("WEB_ACCESS_LOG", LOCAL)

# Proxies that may set X-Forwarded-For: CIDRs, and "unix" for a unix socket's peer.
TRUSTED_PROXIES: list[str] = read.networks("TRUSTED_PROXIES")
# Requests per seconds. An account's or app's own limit overrides `general` and
# `consume`; focus/limiting/limits.py defines what each limit counts.
RATE_LIMITS = {
    "general": (100, 60),
    "auth": (10, 60),
    "upload": (5, 60),
    "verify-user": (60, 60),
    "consume": (100, 60),
    "device-start": (10, 60),
    "device-poll": (30, 60),
    "x-me": (30, 60),
    "report-exposed": (60, 3600),
    "failures": (10, 300),
}
# Multiplies every limit; for load tests.
RATE_LIMIT_SCALE = float(read.number("RATE_LIMIT_SCALE", "1"))
# How long a request waits for Redis before its process counts alone for a while. A
# healthy Redis answers in a fraction of a millisecond.
RATE_LIMIT_TIMEOUT_SECONDS = float(read.number("RATE_LIMIT_TIMEOUT_SECONDS", "0.2"))

# How many passwords one process hashes at once, and how many requests may wait for
# that; further ones get 503. The sum should be half of the process's threads.
PASSWORD_HASHES_AT_ONCE = read.integer("PASSWORD_HASHES_AT_ONCE", 1)
PASSWORD_HASHES_WAITING = read.integer("PASSWORD_HASHES_WAITING", 1, least=0)

# Sign-in with Google; disabled without a client id. The URLs are Google's; tests set
# URLs of a provider of their own.
read.require_together("GOOGLE_CLIENT_ID", "GOOGLE_CLIENT_SECRET")
GOOGLE_CLIENT_ID = env("GOOGLE_CLIENT_ID", "")
GOOGLE_CLIENT_SECRET = env("GOOGLE_CLIENT_SECRET", "")
GOOGLE_AUTHORIZE_URL = read.url(
    "GOOGLE_AUTHORIZE_URL",
    "https://accounts.google.com/o/oauth2/v2/auth",
    local=LOCAL,
)
GOOGLE_TOKEN_URL = read.url(
    "GOOGLE_TOKEN_URL", "https://oauth2.googleapis.com/token", local=LOCAL
)
GOOGLE_JWKS_URL = read.url(
    "GOOGLE_JWKS_URL", "https://www.googleapis.com/oauth2/v3/certs", local=LOCAL
)

# Larger bodies are refused with 413 before they are read.
DATA_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024

REST_FRAMEWORK = {
    # A view without a contract refuses every caller: contracts grant access.
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["focus.contracts.wire.ExactJSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["focus.contracts.wire.StrictJSONParser"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "focus.contracts.wire.AlwaysJSON",
    "DEFAULT_SCHEMA_CLASS": "focus.openapi.schema.ContractSchema",
    "UNAUTHENTICATED_USER": "django.contrib.auth.models.AnonymousUser",
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}

# Stripe is optional: without a key its endpoints answer 503. A key without a webhook
# secret is refused: payments would arrive, and their events could not be verified.
STRIPE_SECRET_KEY = env("STRIPE_SECRET_KEY", "")
STRIPE_WEBHOOK_SECRETS = read.env_list("STRIPE_WEBHOOK_SECRET")
STRIPE_API_BASE = "https://api.stripe.com"
if env("STRIPE_API_BASE", ""):
    STRIPE_API_BASE = read.url("STRIPE_API_BASE", "", local=LOCAL)
if STRIPE_SECRET_KEY and not STRIPE_WEBHOOK_SECRETS:
    raise ImproperlyConfigured(
        "STRIPE_SECRET_KEY is set: set STRIPE_WEBHOOK_SECRET too, or no payment would"
        " ever be credited."
    )

RESERVATION_TTL_SECONDS = 3600
# Allows webhooks to this machine itself, also by http. No other private address.
WEBHOOK_ALLOW_PRIVATE = read.flag("WEBHOOK_ALLOW_PRIVATE", LOCAL and _AT_HOME)
# The monthly limit that pages suggest for an app. Users choose another one, or none.
SUGGESTED_MONTHLY_LIMIT_CREDITS = read.number("SUGGESTED_MONTHLY_LIMIT_CREDITS", "100")
# How many credits a member of support may give and take in 24 hours, added up.
STAFF_ADJUST_LIMIT_CREDITS = read.number("STAFF_ADJUST_LIMIT_CREDITS", "100", zero=True)
# The same for any person, superusers included. More needs a second person's approval.
STAFF_APPROVAL_ABOVE_CREDITS = read.number(
    "STAFF_APPROVAL_ABOVE_CREDITS", "1000", zero=True
)
# The cheapest pack or plan that finance may offer. Superusers may offer cheaper ones.
STAFF_MOST_CREDITS_PER_DOLLAR = read.number("STAFF_MOST_CREDITS_PER_DOLLAR", "10")

# kombu has a URL scheme of its own for unix sockets.
CELERY_BROKER_URL = (
    REDIS_URL.replace("unix://", "redis+socket://", 1).replace("?db=", "?virtual_host=")
    if REDIS_URL.startswith("unix://")
    else REDIS_URL
)
# Due times live in rows and messages only wake workers, so a lost message delays work
# by one beat. The short timeout redelivers the message of a killed worker soon.
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "visibility_timeout": 120,
    "unacked_restore_interval": 2,
    "unacked_restore_throttle": 1,
}
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
# A Valkey that became a replica refuses writes for a while: reconnect, do not exit.
CELERY_BROKER_CHANNEL_ERROR_RETRY = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_TASK_IGNORE_RESULT = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_TIMEZONE = "UTC"
CELERY_BEAT_SCHEDULER = "focus.celery:Scheduler"
CELERY_BEAT_MAX_LOOP_INTERVAL = 2
CELERY_BEAT_SCHEDULE = beat.SCHEDULE

LOGGING = logging_to_console(plain=LOCAL, level=read.log_level("LOG_LEVEL", "INFO"))

SPECTACULAR_SETTINGS = {
    "TITLE": "Focus",
    "DESCRIPTION": "One account and one credit wallet for a family of apps.",
    "VERSION": "1.0.0",
    "SERVE_INCLUDE_SCHEMA": False,
    # The check treats all contracts as one document; `check_openapi` checks each alone.
    "ENABLE_DJANGO_DEPLOY_CHECK": False,
    "COMPONENT_SPLIT_REQUEST": True,
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
    "ENUM_NAME_OVERRIDES": {
        "AttemptState": "jobs.models.Attempt.State",
        "DeliveryState": "jobs.models.Delivery.State",
        "DeliveryTrigger": "jobs.models.Delivery.Trigger",
    },
}
