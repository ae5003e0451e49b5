"""Generate each contract's OpenAPI document and validate it with another library."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError
from drf_spectacular.drainage import GENERATOR_STATS

from focus.openapi import schema


class Command(BaseCommand):
    help = "Exit 1 and name what is wrong if an OpenAPI document is not valid."

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            from openapi_spec_validator import OpenAPIV30SpecValidator
        except ImportError as missing:
            raise CommandError(
                "openapi-spec-validator is not installed: this check needs the "
                "development requirements."
            ) from missing
        wrong = []
        for slug in schema.DOCUMENTS:
            with GENERATOR_STATS.silence():
                document, complaints = schema.generate(slug)
            wrong += [f"{slug}: {complaint}" for complaint in complaints]
            for error in OpenAPIV30SpecValidator(document).iter_errors():
                where = "/".join(str(part) for part in error.absolute_path)
                wrong.append(f"{slug}: {where}: {error.message}")
            self.stdout.write(f"{slug}: {len(document['paths'])} paths")
        if wrong:
            raise CommandError("\n".join(wrong))
