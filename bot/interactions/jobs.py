"""The buttons of a job: Cancel, Try again."""

from typing import Any

from slack_bolt import Ack, App

from bot.interactions import Click, whisper
from bot.services import Services
from workers import ids, jobs


def register(app: App, services: Services) -> None:
    """Listen to the buttons."""

    @app.action(ids.CANCEL_JOB)
    def cancel(ack: Ack, body: dict[str, Any]) -> None:
        ack()
        click = Click.of(body)
        with services.database.transaction() as session:
            if not click.first_time(session):
                return
            job = jobs.cancel(session, services.settings, click.value, click.user)
        whisper(services, click, "bot/job_changed", deed="cancel", job=jobs.template_values(job))

    @app.action(ids.RETRY_JOB)
    def retry(ack: Ack, body: dict[str, Any]) -> None:
        ack()
        click = Click.of(body)
        with services.database.transaction() as session:
            if not click.first_time(session):
                return
            job = jobs.retry(session, services.settings, click.value, click.user)
        woken = services.queue.wake(job)
        if not woken:
            whisper(services, click, "bot/job_changed", deed="retry", job=jobs.template_values(job))
