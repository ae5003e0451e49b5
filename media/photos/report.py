"""What the owner reads about a restoration: measured, done, and not done."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Report:
    before: dict[str, Any] = field(default_factory=dict)
    after: dict[str, Any] = field(default_factory=dict)
    steps: list[dict[str, Any]] = field(default_factory=list)
    not_done: list[dict[str, str]] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def unchanged(self) -> bool:
        return not self.steps

    def did(self, step: str, engine: str, why: str, **numbers: object) -> None:
        """Record a step that changed the photo, and the engine that did it."""
        self.steps.append({"step": step, "engine": engine, "why": why, **numbers})

    def left(self, step: str, why: str) -> None:
        """Record a step that the photo seems to need and did not get."""
        self.not_done.append({"step": step, "why": why})

    def as_json(self) -> dict[str, Any]:
        content: dict[str, Any] = {
            "unchanged": self.unchanged,
            "before": self.before,
            "steps": self.steps,
            "not_done": self.not_done,
            "after": self.after,
            "seconds": round(self.seconds, 2),
        }
        if self.unchanged:
            content["why_unchanged"] = (
                self.not_done[0]["why"]
                if self.not_done
                else "No damage was measured, so the photo stays as it is."
            )
        return content
