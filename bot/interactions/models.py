"""The button of a model that has decayed: Retrain now."""

from typing import Any

from slack_bolt import Ack, App

from bot.interactions import Click, whisper
from bot.services import Services
from workers import ids, jobs, models


def register(app: App, services: Services) -> None:
    """Listen to the button."""

    @app.action(ids.RETRAIN_MODEL)
    def retrain(ack: Ack, body: dict[str, Any]) -> None:
        ack()
        click = Click.of(body)
        with services.database.transaction() as session:
            if not click.first_time(session):
                return
            job = models.retrain(session, services.settings, click.value, click.user, click.channel)
        woken = services.queue.wake(job)
        whisper(
            services,
            click,
            "bot/queued",
            job={"id": job.id, "title": jobs.title(job.kind)},
            stranger=False,
            private=False,
            woken=woken,
        )
