"""What a person gets when something fails: a sentence they can act on, or a reference for the operator's log."""

import json
import logging
import secrets
from typing import Any

from slack_bolt import Ack, BoltRequest, BoltResponse
from slack_sdk.errors import SlackApiError, SlackClientError
from sqlalchemy import exc

from bot import refusals, signature
from bot.interactions import Click, whisper
from bot.services import Services
from retention import clock, faults
from retention.campaigns.states import StaleCampaign
from retention.errors import BadInput, Refused
from retention.settings import Settings
from workers.delivery import render

log = logging.getLogger("retention.bot")

TOO_LATE = (
    "expired_trigger_id",
    "trigger_expired",
    "trigger_exchanged",
    "ratelimited",
)  # to open a window
PRESS_AGAIN = "Slack did not open the window in time; nothing was changed. Please press once more."
DATABASE_AWAY = (
    "The database does not answer, so nothing was accepted; please try again in a minute."
)


def sentence_for(error: Exception, settings: Settings) -> str:
    """Return what to tell the person; what the operator must know is logged under a reference.

    Parameters
    ----------
    error : Exception
        What a handler raised.
    settings : Settings
        The installation; its folders tell a full disk from other faults.

    Returns
    -------
    str
        One sentence or two, with the remedy.
    """
    if isinstance(error, Refused):
        return str(error)
    if isinstance(error, SlackApiError) and error.response.get("error") in TOO_LATE:
        log.warning("a window was not opened: %s", error)
        return PRESS_AGAIN
    reference = secrets.token_hex(4)
    if fault := faults.diagnose(error, settings):
        log.error(
            "reference %s: %s (%s): %s", reference, fault.code, fault.path, error, exc_info=error
        )
        return f"{fault} The operator finds the details under the reference {reference}."
    if isinstance(error, exc.OperationalError | exc.InterfaceError | exc.TimeoutError):
        log.error("reference %s: the database does not answer: %s", reference, error)
        return DATABASE_AWAY
    log.error("reference %s", reference, exc_info=error)
    return f"Something went wrong on our side. The operator finds the details under the reference {reference}."


class Failures:
    """Bolt's error handler, for listeners and middleware alike."""

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
        """Tell the person, wherever they are; nobody if the request does not come from Slack."""
        if not self._is_verified(request):
            refusals.note(refusals.UNVERIFIED, "/slack/events")
            return BoltResponse(status=401, body={"error": "not signed by Slack"})
        sentence = sentence_for(error, self._services.settings)
        if response is None:  # acknowledged before it failed
            self._tell(body, sentence)
            return None
        if body.get("command"):
            told = (
                self._stale(error) if isinstance(error, StaleCampaign) else self._message(sentence)
            )
            return _json({"response_type": "ephemeral", **told})
        if body.get("type") == "view_submission":
            field = error.field if isinstance(error, BadInput) else ""
            return _json(_under_its_input(body["view"], sentence, field))
        ack()
        self._tell(body, sentence)
        return BoltResponse(status=200)

    def _is_verified(self, request: BoltRequest) -> bool:
        """Verify again: slack_bolt also calls this handler for errors before or during its own verification."""
        if request.mode == "socket_mode":
            return True
        secret = self._services.settings.slack_signing_secret
        headers = {name: values[0] for name, values in request.headers.items() if len(values) == 1}
        return secret is not None and signature.is_verified(
            secret.get_secret_value(), headers, request.raw_body.encode(), clock.wall().timestamp()
        )

    def _message(self, sentence: str) -> dict[str, Any]:
        said = render.message("job/refused", sentence=sentence)
        return {"text": said.text, "blocks": said.blocks}

    def _stale(self, stale: StaleCampaign) -> dict[str, Any]:
        """What a stale button says, too: who was first is a person with a name, not an id."""
        said = render.message(
            "campaign/stale", zone=self._services.settings.timezone, **stale.template_values
        )
        return {"text": said.text, "blocks": said.blocks}

    def _tell(self, body: dict[str, Any], sentence: str) -> None:
        try:
            if body.get("type") == "block_actions" and not body.get("response_url"):
                self._tell_in_a_modal(body, sentence)
            elif body.get("type") in ("block_actions", "view_submission"):
                whisper(self._services, Click.of(body), "job/refused", sentence=sentence)
            elif body.get("command"):
                self._services.client.chat_postEphemeral(
                    channel=body["channel_id"], user=body["user_id"], **self._message(sentence)
                )
        except (SlackClientError, OSError) as error:
            log.warning("could not show the person the error: %s", error)

    def _tell_in_a_modal(self, body: dict[str, Any], sentence: str) -> None:
        view = render.view("bot/refused_modal", sentence=sentence)
        in_modal = (body.get("view") or {}).get("type") == "modal"
        show = self._services.client.views_push if in_modal else self._services.client.views_open
        show(trigger_id=body["trigger_id"], view=view)


def _under_its_input(view: dict[str, Any], sentence: str, field: str = "") -> dict[str, Any]:
    """Keep the modal and show the sentence under the input of the field.

    Without a field, the input that the sentence names first, else the first.
    """
    inputs = [
        block
        for block in view.get("blocks", [])
        if block.get("type") == "input" and block.get("label")
    ]
    if not inputs:
        return {
            "response_action": "update",
            "view": render.view("bot/refused_modal", sentence=sentence),
        }

    def place(block: dict[str, Any]) -> int:
        """Where the sentence first names it; far away where it does not."""
        first_word = block["label"]["text"].lower().partition(" ")[0]
        at = sentence.lower().find(first_word)
        return at if at >= 0 else len(sentence)

    named = [block for block in inputs if block["block_id"] == field]
    block = named[0] if named else min(inputs, key=place)
    return {"response_action": "errors", "errors": {block["block_id"]: sentence}}


def _json(body: dict[str, Any]) -> BoltResponse:
    return BoltResponse(
        status=200, body=json.dumps(body), headers={"content-type": ["application/json"]}
    )
