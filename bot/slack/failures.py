"""Turn errors into messages and log entries."""

import logging
import secrets
from collections.abc import Sequence
from typing import Any

from slack_bolt import Ack, BoltRequest, BoltResponse
from slack_sdk.errors import SlackApiError, SlackClientError
from sqlalchemy import exc

from bot.http import rate_limit
from bot.services import Services
from bot.slack import envelopes
from bot.slack.interactions import Click, send_ephemeral
from bot.slack.interactions.campaigns import input_of
from retention import clock, faults
from retention.campaigns.lifecycle.states import StaleCampaign
from retention.errors import BadFields, NotAllowed, Refused
from retention.settings import Settings
from retention.text import gettext
from workers import hints
from workers.delivery import render

log = logging.getLogger("retention.bot")

# Slack's errors when the three seconds to open a modal are over.
TRIGGER_ERRORS = ("expired_trigger_id", "trigger_expired", "trigger_exchanged", "ratelimited")


def error_message(error: Exception, settings: Settings) -> str:
    """Return the message for the person. Log the operator's details under a reference."""
    if isinstance(error, Refused):
        return hints.sentence(error)
    if isinstance(error, SlackApiError) and error.response.get("error") in TRIGGER_ERRORS:
        log.warning("a window was not opened: %s", error)
        return gettext(
            "Slack did not open the window in time; nothing was changed. Please press once more."
        )
    reference = secrets.token_hex(4)
    if fault := faults.diagnose(error, settings):
        log.error(
            "reference %s: %s (%s): %s", reference, fault.code, fault.path, error, exc_info=error
        )
        text = gettext("{fault} The operator finds the details under the reference {reference}.")
        return text.format(fault=fault, reference=reference)
    if isinstance(error, exc.OperationalError | exc.InterfaceError | exc.TimeoutError):
        log.error("reference %s: the database does not answer: %s", reference, error)
        return gettext(
            "The database does not answer, so nothing was accepted; please try again in a minute."
        )
    log.error("reference %s", reference, exc_info=error)
    return gettext(
        "Something went wrong on our side. "
        "The operator finds the details under the reference {reference}."
    ).format(reference=reference)


class Failures:
    """Handle the errors of Bolt's listeners and middleware."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def handle(
        self,
        error: Exception,
        request: BoltRequest,
        body: dict[str, Any],
        ack: Ack,
        response: BoltResponse | None,
    ) -> BoltResponse | None:
        """Show the error to the person.

        A request without a valid signature gets 401 instead.

        `response`: none if the request was acknowledged before the error.
        """
        if not self._is_verified(request):
            rate_limit.note(rate_limit.UNVERIFIED, "/slack/events")
            return BoltResponse(status=401, body={"error": "not signed by Slack"})
        message = error_message(error, self._services.settings)
        people = error.people if isinstance(error, NotAllowed) else ()
        if response is None:  # acknowledged before it failed
            self._show(body, message, people)
            return None
        if body.get("command"):
            if isinstance(error, StaleCampaign):
                zone = self._services.settings.timezone
                shown = render.message("campaign/stale", zone=zone, **error.template_values)
            else:
                shown = render.message("job/refused", sentence=message, people=people)
            content = {"text": shown.text, "blocks": shown.blocks}
            return BoltResponse(status=200, body={"response_type": "ephemeral", **content})
        if body.get("type") == "view_submission":
            return BoltResponse(status=200, body=_modal_errors(body["view"], message, error))
        ack()
        self._show(body, message, people)
        return BoltResponse(status=200)

    def _is_verified(self, request: BoltRequest) -> bool:
        """Verify the signature again.

        slack_bolt also calls this handler for errors before or during its own verification.
        """
        if request.mode == "socket_mode":
            return True
        secret = self._services.settings.slack_signing_secret
        headers = {name: values[0] for name, values in request.headers.items() if len(values) == 1}
        return secret is not None and envelopes.is_verified(
            secret.get_secret_value(), headers, request.raw_body.encode(), clock.wall().timestamp()
        )

    def _show(self, body: dict[str, Any], message: str, people: Sequence[str]) -> None:
        try:
            is_shortcut = body.get("type") in ("shortcut", "message_action")
            is_in_view = body.get("type") == "block_actions" and not body.get("response_url")
            if is_shortcut or is_in_view:
                self._show_in_modal(body, message)
            elif body.get("type") in ("block_actions", "view_submission"):
                send_ephemeral(
                    self._services, Click.of(body), "job/refused", sentence=message, people=people
                )
            elif body.get("command"):
                shown = render.message("job/refused", sentence=message, people=people)
                self._services.client.chat_postEphemeral(
                    channel=body["channel_id"],
                    user=body["user_id"],
                    text=shown.text,
                    blocks=shown.blocks,
                )
        except (SlackClientError, OSError) as error:
            log.warning("could not show the person the error: %s", error)

    def _show_in_modal(self, body: dict[str, Any], message: str) -> None:
        view = render.view("bot/refused_modal", sentence=message)
        is_in_modal = (body.get("view") or {}).get("type") == "modal"
        show = self._services.client.views_push if is_in_modal else self._services.client.views_open
        show(trigger_id=body["trigger_id"], view=view)


def _modal_errors(view: dict[str, Any], message: str, error: Exception) -> dict[str, Any]:
    """Keep the modal open with all errors.

    Each message is under the input of its field, else under the first.
    """
    inputs = [
        block["block_id"]
        for block in view.get("blocks", [])
        if block.get("type") == "input" and block.get("block_id")
    ]
    if not inputs:
        view = render.view("bot/refused_modal", sentence=message)
        return {"response_action": "update", "view": view}
    messages: list[tuple[str | None, str]] = (
        [(single.field, str(single)) for single in error.errors]
        if isinstance(error, BadFields)
        else [(getattr(error, "field", None), message)]
    )
    of_field = {block_id.partition(":")[2]: block_id for block_id in inputs if ":" in block_id}
    by_input: dict[str, list[str]] = {}
    for field, sentence in messages:
        block_id = of_field.get(field or "") or input_of(field or "")
        by_input.setdefault(block_id if block_id in inputs else inputs[0], []).append(sentence)
    errors = {block_id: " ".join(sentences) for block_id, sentences in by_input.items()}
    return {"response_action": "errors", "errors": errors}
