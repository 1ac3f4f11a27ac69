"""The button that erases a customer, after its confirmation."""

from typing import Any

from slack_bolt import Ack, App

from bot.interactions import Click, confirm
from bot.services import Services
from workers import ids, jobs
from workers.requests import Forget


def register(app: App, services: Services) -> None:
    """Listen to the button."""

    @app.action(ids.FORGET)
    def forget(ack: Ack, body: dict[str, Any]) -> None:
        ack()
        click = Click.of(body)
        with services.database.transaction() as session:
            if not click.first_time(session):
                return
            submission = jobs.submit(
                session,
                services.settings,
                Forget(customer_id=click.value),
                requested_by=click.user,
                channel=click.user,
                idem_key=click.key,
            )
        confirm(services, click, submission, private=True)
