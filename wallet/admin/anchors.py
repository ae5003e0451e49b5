"""The staff page of anchors (signed lists of chain heads) and their downloads."""

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, StreamingHttpResponse
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html

from focus.admin_site import columns
from focus.admin_site.lists import ReadOnly
from wallet import anchors
from wallet.models import Anchor


@admin.register(Anchor)
class AnchorAdmin(ReadOnly):
    """Anchors, with the signed file of each."""

    list_display = ["number", "begun", "wallets", "file"]
    ordering = ["-number"]
    sortable_by = ("number",)
    search_fields = ["number"]
    search_help_text = "Number"
    fields = ["number", "begun", "wallets", "statement", "file"]

    def found(self, rows: QuerySet[Anchor], term: str) -> QuerySet[Anchor]:
        plain = term.isascii() and term.isdigit() and len(term) < 19
        return rows.filter(number=int(term)) if plain else rows.none()

    def get_urls(self) -> list[URLPattern]:
        file = path(
            "<int:number>.txt",
            self.admin_site.admin_view(self.file_view),
            name="wallet_anchor_file",
        )
        return [file, *super().get_urls()]

    def file_view(self, request: HttpRequest, number: int) -> StreamingHttpResponse:
        """Download the file that `manage.py verify_anchor` reads."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        signed = Anchor.objects.exclude(signature=None)
        anchor = get_object_or_404(signed, number=number)
        name = f"anchor-{anchor.number}.txt"
        return StreamingHttpResponse(
            anchors.export(anchor),
            content_type="text/plain; charset=utf-8",
            headers={"Content-Disposition": f'attachment; filename="{name}"'},
        )

    begun = columns.time("begun_at", "started")

    @admin.display(description="wallets")
    def wallets(self, anchor: Anchor) -> str:
        return f"{anchors.wallets_in(anchor):,}"

    @admin.display(description="file")
    def file(self, anchor: Anchor) -> Any:
        if anchor.signature is None:
            return "in progress"
        address = reverse("admin:wallet_anchor_file", args=[anchor.number])
        return format_html('<a class="to" href="{}">Download</a>', address)
