"""Turn errors into messages and log entries."""

import logging
from collections.abc import Sequence
from typing import Any

from slack_bolt import Ack, BoltContext, BoltResponse
from slack_sdk.errors import SlackApiError, SlackClientError
from sqlalchemy import exc

from bot.services import Services
from bot.slack.interactions import Click, send_ephemeral, show_modal, show_to
from bot.slack.interactions.campaigns import input_of
from bot.slack.middleware import Refusals
from retention import faults, traces
from retention.campaigns.lifecycle.states import StaleCampaign
from retention.errors import BadFields, NotAllowed, Refused
from retention.settings import Settings
from retention.templating import strip_controls
from retention.text import gettext
from workers import hints
from workers.delivery import render

log = logging.getLogger("retention.bot")

# Slack's errors when the three seconds to open a modal are over.
TRIGGER_ERRORS = ("expired_trigger_id", "trigger_expired", "trigger_exchanged", "ratelimited")


SHORTCUTS = ("shortcut", "message_action")


def error_message(error: Exception, settings: Settings) -> str:
    """Return the message for the person. Log the operator's details under a reference."""
    if isinstance(error, Refused):
        return hints.sentence(error)
    if isinstance(error, SlackApiError) and error.response.get("error") in TRIGGER_ERRORS:
        log.warning("a window was not opened: %s", error)
        return gettext(
            "Slack did not open the window in time; nothing was changed. Please press once more."
        )
    reference = traces.reference(error)
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

    def __init__(self, services: Services, refusals: Refusals) -> None:
        self._services, self._refusals = services, refusals

    def handle(
        self,
        error: Exception,
        body: dict[str, Any],
        ack: Ack,
        context: BoltContext,
        response: BoltResponse | None,
    ) -> BoltResponse | None:
        """Show the error to the person, and make a refusal final.

        `response`: none if the request was acknowledged before the error.
        """
        answer = self._answer(error, body, ack, response)
        if isinstance(error, Refused):
            self._refusals.add(context, answer)
        return answer

    def _answer(
        self, error: Exception, body: dict[str, Any], ack: Ack, response: BoltResponse | None
    ) -> BoltResponse | None:
        message = error_message(error, self._services.settings)
        people = error.people if isinstance(error, NotAllowed) else ()
        if isinstance(error, NotAllowed):
            self._services.record_refusal(*_attempt(body))
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

    def _show(self, body: dict[str, Any], message: str, people: Sequence[str]) -> None:
        if body.get("command"):
            shown = render.message("job/refused", sentence=message, people=people)
            show_to(self._services, body["user_id"], shown, None, body["channel_id"])
        elif body.get("type") in (*SHORTCUTS, "block_actions", "view_submission"):
            self._show_in_reply(Click.of(body), body["type"], message, people)

    def _show_in_reply(self, click: Click, kind: str, message: str, people: Sequence[str]) -> None:
        is_in_view = kind == "block_actions" and not click.response_url
        if not (is_in_view or kind in SHORTCUTS):
            send_ephemeral(self._services, click, "job/refused", sentence=message, people=people)
            return
        try:
            view = render.view("bot/refused_modal", sentence=message)
            show_modal(self._services, click, view)
        except (SlackClientError, OSError) as error:
            log.warning("could not show the person the error: %s", error)


def _attempt(body: dict[str, Any]) -> tuple[str, str]:
    """Return the person and what they tried: a command's first word, a button or a window.

    Further words may be a customer's name.
    """
    if body.get("command"):
        return body["user_id"], next(iter((body.get("text") or "").split()), "")
    action: dict[str, Any] = next(iter(body.get("actions") or ()), {})
    view = body.get("view") or {}
    what = action.get("action_id") or view.get("callback_id") or body.get("callback_id") or ""
    return (body.get("user") or {}).get("id", ""), what


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
    errors = {place: strip_controls(" ".join(said)) for place, said in by_input.items()}
    return {"response_action": "errors", "errors": errors}
