"""Staff pages of stored files: their owners and their expiry, not their content.

No page shows a file's address or its key in the storage. Staff do not need a person's
photos, and locked content has no address for anyone.
"""

from typing import Any

from django.contrib import admin
from django.db import transaction
from django.db.models import BigIntegerField, OuterRef, Q, QuerySet, Subquery, Sum
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.template.defaultfilters import filesizeformat
from unfold.decorators import display

from accounts import audit
from accounts.authentication import user_of, visitor
from focus.admin_site import columns, search, shown
from focus.admin_site.lists import Acting
from focus.due import NOW
from jobs.files import storage
from jobs.models import Restoration, StoredFile

PURPOSES = ("photo", "preview", "restored")


class OfPurpose(admin.SimpleListFilter):
    """Filter files by purpose, without a query for the purposes."""

    title = "purpose"
    parameter_name = "purpose"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(purpose, purpose) for purpose in PURPOSES]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        return queryset.filter(purpose=self.value()) if self.value() else queryset


@admin.register(StoredFile)
class StoredFileAdmin(Acting):
    """Stored files with their owners, which staff may delete."""

    list_display = [
        "made",
        "owner",
        "purpose",
        "size_shown",
        "content_type",
        "state",
        "expires",
        "deleted",
        "total",
    ]
    list_select_related = ["account"]
    list_filter = [
        OfPurpose,
        ("arrived_at", admin.EmptyFieldListFilter),
        ("deleted_at", admin.EmptyFieldListFilter),
    ]
    ordering = ["-created_at"]
    search_fields = ["account__email"]
    search_help_text = "Email, or the id of an account, file or run"
    actions = ["delete_content"]
    fields = [
        "id",
        "owner",
        "purpose",
        "name",
        "content_type",
        "size_shown",
        "state",
        "made",
        "arrived",
        "expires",
        "deleted",
        "total",
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[StoredFile]:
        files: QuerySet[StoredFile] = super().get_queryset(request)
        return files.annotate(account_bytes=_bytes_of_account(), now=NOW)

    def found(self, rows: QuerySet[StoredFile], term: str) -> QuerySet[StoredFile]:
        known = search.as_uuid(term)
        if known is None:
            return rows.filter(account__in=search.accounts_by_email(term))
        parts = Restoration.objects.filter(run=known).values_list(
            "original", "preview", "full"
        )
        ids = [known, *(pk for files in parts for pk in files if pk)]
        return rows.filter(Q(pk__in=ids) | Q(account=known))

    made = columns.time("created_at", "created")
    owner = columns.account()
    arrived = columns.time("arrived_at", "arrived")
    deleted = columns.time("deleted_at", "deleted")

    @admin.display(description="size")
    def size_shown(self, file: StoredFile) -> str:
        if file.size is None:
            return f"up to {filesizeformat(file.most_bytes)}"
        return filesizeformat(file.size)

    @display(
        description="state",
        label={
            "expected": "warning",
            "stored": "success",
            "expired": "info",
            "deleted": "info",
        },
    )
    def state(self, file: StoredFile) -> str:
        if file.deleted_at:
            return "deleted"
        now = file.now  # type: ignore[attr-defined]  # An annotation.
        if file.due_at and file.due_at <= now:
            return "expired"
        return "stored" if file.arrived_at else "expected"

    @admin.display(description="expires (UTC)")
    def expires(self, file: StoredFile) -> str:
        # The due time of a deleted file is that of its removal from the storage.
        return shown.moment(None if file.deleted_at else file.due_at)

    @admin.display(description="all files of the account")
    def total(self, file: StoredFile) -> Any:
        used = file.account_bytes  # type: ignore[attr-defined]  # An annotation.
        route = "jobs_storedfile_changelist"
        return columns.search_link(route, filesizeformat(used), q=file.account_id)

    @admin.action(description="Delete (cannot be undone)", permissions=["act"])
    def delete_content(
        self, request: HttpRequest, queryset: QuerySet[StoredFile]
    ) -> None:
        def act(row: StoredFile) -> str:
            said = f"The file “{row}” of {row.account}"
            with transaction.atomic():
                # Of two calls at once, the second finds the file deleted.
                locked = StoredFile.objects.select_for_update(no_key=True)
                if locked.get(pk=row.pk).deleted_at is not None:
                    return f"{said} was deleted before."
                storage.forget([row.pk])
                audit.record(
                    "stored_file_deleted",
                    user=row.account,
                    actor=str(user_of(request)),
                    visitor=visitor(request),
                    file_id=str(row.pk),
                    purpose=row.purpose,
                )
            return f"{said} is deleted."

        self.each(request, queryset.select_related("account"), act)


def _bytes_of_account() -> Coalesce:
    """Return the bytes of a row's account, as its quota counts them."""
    live = Q(due_at=None) | Q(due_at__gt=NOW)
    own = StoredFile.objects.filter(account=OuterRef("account"), deleted_at=None)
    grouped = own.filter(live).order_by().values("account")
    bytes_of = grouped.annotate(total=Sum(Coalesce("size", "most_bytes")))
    total = Subquery(bytes_of.values("total"), output_field=BigIntegerField())
    return Coalesce(total, 0)
