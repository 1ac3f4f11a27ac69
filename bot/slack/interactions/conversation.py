"""Handle the buttons of a conversation, and the shortcuts that start one."""

import json
import re
from typing import Any

from slack_bolt import Ack, App
from slack_sdk import WebClient
from sqlalchemy import select

from bot.services import Services
from bot.slack import conversation
from bot.slack.conversation import Line, Said
from bot.slack.interactions import Click, listen
from retention.db import Transaction
from retention.db.tables import Cohort, Job
from retention.errors import BadInput, Refused
from retention.number_format import count
from retention.templating import day
from retention.text import gettext
from workers import action_ids
from workers.campaigns.job_requests import CampaignDraft
from workers.delivery import render, threads
from workers.job_requests import Voice

MAX_COHORTS = 20  # in the modal's list
MAX_CUSTOMERS = 20
_PSEUDONYM = re.compile(r"(?<![A-Z0-9-])[0-9A-HJKMNP-TV-Z]{4}-[0-9A-HJKMNP-TV-Z]{4}(?![A-Z0-9-])")
CUSTOMER_BLOCK, LIST_BLOCK, DISCOUNT_BLOCK = "customer", "list", "discount"


def register(app: App, services: Services) -> None:
    """Listen to the buttons and shortcuts."""
    alternative = re.compile(rf"^{re.escape(action_ids.ASK_ALTERNATIVE)}\d$")
    listen(
        app,
        services,
        {
            action_ids.ASK_RUN: _run,
            action_ids.ASK_DECLINE: _decline,
            action_ids.ASK_HEARD: _ask_heard,
            alternative: _choose,
        },
    )
    _register_why(app, services)
    _register_draft(app, services)


def _run(services: Services, click: Click) -> None:
    conversation.confirm(services, conversation.opened(services, click.value, click.user))


def _decline(services: Services, click: Click) -> None:
    proposal = conversation.opened(services, click.value, click.user)
    conversation.decided(services, proposal, "declined")


def _choose(services: Services, click: Click) -> None:
    proposal = conversation.opened(services, click.value, click.user)
    conversation.choose(services, proposal, click.key)


def _ask_heard(services: Services, click: Click) -> None:
    """Ask the words of a person's own voice message, once."""
    with services.database.reading() as session:
        job = session.get(Job, click.value)
    is_own = job and job.kind == Voice.kind and job.requested_by == click.user
    if not job or not is_own or job.team_id != services.settings.team_id or not job.result:
        raise Refused(gettext("This voice message is not here any more; record it again, please."))
    heard = job.result
    said = Said(click.user, heard["place"], heard["text"], heard["root"], f"said:heard:{job.id}")
    conversation.answer(services, said)


# ---------------------------------------------------------------- why is this customer at risk


def _register_why(app: App, services: Services) -> None:
    def why(ack: Ack, body: dict[str, Any], client: WebClient) -> None:
        place = _place(body)
        named = customers_in(body["message"]) if place else []
        if place and not named:
            with services.database.reading() as session:
                topic = threads.topic_of(session, place["channel"], place["root"])
            named = [topic.customer] if topic.customer else []
        if len(named) == 1:
            said = _said(body["user"]["id"], place, f"shortcut:{body['action_ts']}")
            conversation.act(services, said, Line(f"score {named[0]}"))
            ack()
            return
        ack()
        _open(client, body, "talk/why", place=json.dumps(place), customers=named[:MAX_CUSTOMERS])

    app.shortcut(action_ids.WHY_MESSAGE)(why)
    app.shortcut(action_ids.WHY_GLOBAL)(why)

    @app.view(action_ids.WHY_VIEW)
    def explain(ack: Ack, body: dict[str, Any]) -> None:
        click = Click.of(body)
        customer = click.answer(CUSTOMER_BLOCK, CUSTOMER_BLOCK)
        if not customer:
            raise BadInput(gettext("Name a customer: an id, a pseudonym or an e-mail address."))
        said = _said(click.user, json.loads(click.value), f"shortcut:{click.key}")
        line = f'score "{customer}"' if " " in customer else f"score {customer}"
        conversation.act(services, said, Line(line))
        ack()


# ---------------------------------------------------------------- draft from this list


def _register_draft(app: App, services: Services) -> None:
    def draft(ack: Ack, body: dict[str, Any], client: WebClient) -> None:
        ack()
        services.require(body["user"]["id"], CampaignDraft.role, CampaignDraft.deed)
        place = _place(body)
        with services.database.reading() as session:
            cohorts = _cohorts(session, _cohort_of(session, body, place) if place else None)
        _open(client, body, "talk/draft", place=json.dumps(place), cohorts=cohorts)

    app.shortcut(action_ids.DRAFT_MESSAGE)(draft)
    app.shortcut(action_ids.DRAFT_GLOBAL)(draft)

    @app.view(action_ids.DRAFT_VIEW)
    def start(ack: Ack, body: dict[str, Any]) -> None:
        click = Click.of(body)
        line = f"campaign draft --cohort {click.option(LIST_BLOCK, LIST_BLOCK)}"
        if discount := click.answer(DISCOUNT_BLOCK, DISCOUNT_BLOCK):
            line += f" --discount {discount}"
        said = _said(click.user, json.loads(click.value), f"shortcut:{click.key}")
        # The modal is the confirmation: it names the list and the discount.
        conversation.act(services, said, Line(line), confirmed=True)
        ack()


def _cohort_of(session: Transaction, body: dict[str, Any], place: dict[str, str]) -> str | None:
    """Return the list that the message shows, else the newest of its thread."""
    job = threads.job_of(session, place["channel"], body["message"]["ts"])
    shown = session.scalar(select(Cohort.id).where(Cohort.job_id == job.id)) if job else None
    topic = threads.topic_of(session, place["channel"], place["root"])
    return shown or topic.cohort


def _cohorts(session: Transaction, first: str | None) -> list[dict[str, str]]:
    """Return the newest lists, or only the list of the thread."""
    query = select(Cohort).where(Cohort.team_id == session.settings.team_id)
    if first is not None:
        query = query.where(Cohort.id == first)
    rows = session.scalars(query.order_by(Cohort.created_at.desc()).limit(MAX_COHORTS)).all()
    zone = session.settings.zone
    return [
        {"id": row.id, "text": _list_label(row.size, row.audience, day(row.as_of, str(zone)))}
        for row in rows
    ]


def _list_label(size: int, audience: str | None, at: str) -> str:
    label = gettext("{size} at risk, {at}").format(size=count(size, "customer"), at=at)
    return f"{label}: {audience}" if audience else label


# ---------------------------------------------------------------- shared


def customers_in(message: dict[str, Any]) -> list[str]:
    """Return the pseudonyms that a message shows, in order."""
    shown = json.dumps([message.get("text", ""), message.get("blocks", [])])
    return list(dict.fromkeys(_PSEUDONYM.findall(shown)))


def _place(body: dict[str, Any]) -> dict[str, str]:
    """Return the thread of a message's shortcut; empty for a global one."""
    if "message" not in body:
        return {}
    message = body["message"]
    root = message.get("thread_ts") or message["ts"]
    return {"channel": body["channel"]["id"], "root": root}


def _said(user: str, place: dict[str, str], key: str) -> Said:
    """Return the thread to answer in; without one, the person's direct message."""
    channel = place.get("channel") or user
    return Said(user, channel, "", place.get("root", ""), key)


def _open(client: WebClient, body: dict[str, Any], template: str, **values: Any) -> None:
    client.views_open(trigger_id=body["trigger_id"], view=render.view(template, **values))
