"""User accounts: one for each person, for every way of sign-in."""

import uuid
from typing import ClassVar

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.models import PermissionsMixin
from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower
from django.utils import timezone


class UserManager(BaseUserManager["User"]):
    """Finds users by email, ignoring case."""

    def get_by_natural_key(self, username: str | None) -> "User":
        return self.with_email(username or "").get()

    def with_email(self, email: str) -> models.QuerySet["User"]:
        """Return the account of `email`, or none. `iexact` would not use the index."""
        return self.alias(folded=Lower("email")).filter(folded=email.lower())

    def create_user(
        self, email: str, password: str | None = None, **fields: object
    ) -> "User":
        user = self.model(email=email, **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None) -> "User":
        # The operator of the server runs this, so the address counts as verified.
        return self.create_user(
            email,
            password,
            is_staff=True,
            is_superuser=True,
            email_verified_at=timezone.now(),
        )


class User(AbstractBaseUser, PermissionsMixin):
    """An account. Closed with `is_active = False`, never deleted."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    email = models.EmailField(null=True, blank=True)
    email_verified_at = models.DateTimeField(null=True, blank=True)
    # Cosmiv's second name for sign-in, and its normalised form (`usernames.key`).
    username = models.CharField(max_length=150, null=True, blank=True, editable=False)
    username_key = models.CharField(
        max_length=300, null=True, blank=True, unique=True, editable=False
    )
    first_name = models.CharField(max_length=150, blank=True)
    last_name = models.CharField(max_length=150, blank=True)
    clerk_id = models.CharField(max_length=64, null=True, blank=True, unique=True)
    # reviv's two gifts, each given once to an account.
    free_preview_used = models.BooleanField(default=False, db_default=False)
    social_share_unlock_used = models.BooleanField(default=False, db_default=False)
    is_active = models.BooleanField(default=True)
    is_staff = models.BooleanField(default=False)
    rate_limit_per_minute = models.PositiveIntegerField(
        null=True, blank=True, validators=[MinValueValidator(1)]
    )
    # Incremented when all sign-ins and credentials of the account are ended. A request
    # that authenticated before then can add none (`proofs.lock_account`).
    epoch = models.PositiveIntegerField(default=0, db_default=0, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    objects: ClassVar[UserManager] = UserManager()

    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"

    class Meta:
        constraints = [
            models.UniqueConstraint(
                Lower("email"),
                name="an_email_has_one_account",
                condition=Q(email__isnull=False),
            )
        ]

    def __str__(self) -> str:
        return self.email or str(self.pk)

    @property
    def public_clerk_id(self) -> str:
        """The guide's `clerk_id`: Clerk's id, or one of ours for other users."""
        return self.clerk_id or f"focus_{self.pk.hex}"
