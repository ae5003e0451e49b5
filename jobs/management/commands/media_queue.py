"""`manage.py media_queue`: the figures of hosted work, for a monitor."""

import json
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand

from jobs.hosted import engine, figures


class Command(BaseCommand):
    help = "Print the media engine's state and the queue's figures as one JSON object."

    def handle(self, **_options: Any) -> None:
        state = engine.state()
        told = {
            "engine": state.word,
            "engine_percent": state.percent,
            "engine_sentence": state.sentence,
            **asdict(figures.queue()),
        }
        self.stdout.write(json.dumps(told))
