"""Handle the customer card: open it, call, exclude, note, draft, details and feedback."""

from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any

from slack_bolt import Ack, App

from bot.services import Services
from bot.slack.interactions import Click, confirm, feedback, fill_window, listen, once, show_modal
from retention import clock
from retention.db import Transaction
from retention.db.tables import Cohort, Job
from retention.errors import BadInput
from retention.lake import customer_directory
from retention.outreach import calls, pauses
from retention.privacy import pseudonym
from retention.text import gettext
from workers import action_ids, user_roles
from workers.campaigns import call_messages, decisions
from workers.campaigns.job_requests import CampaignDraft
from workers.customers import customer_cards
from workers.delivery import render
from workers.job_requests import CallWindow, CustomerCard

ROLE = "analyst"
ACTION = gettext("decide on a customer")


def register(app: App, services: Services) -> None:
    """Listen to the select of a list, and to a card's buttons and modals."""
    clicks = {
        action_ids.OPEN_CUSTOMER: _open_card,
        action_ids.CARD_PAUSE: _pause,
        action_ids.CARD_NOTE: _open_note,
        action_ids.CARD_CALL: _open_call_of_card,
        action_ids.OPEN_CALL: _open_call_of_list,
        action_ids.CARD_MORE: _choose,
    }
    listen(
        app, services, clicks, {action_ids.NOTE_VIEW: _save_note, action_ids.CALL_VIEW: _save_call}
    )


def _choose(services: Services, click: Click) -> None:
    deed, _, job_id = click.value.partition("|")
    if deed == "draft":
        _draft(services, click, job_id)
    elif deed == "details":
        _details(services, click, job_id)
    else:
        _feedback(services, click, deed, job_id)


def _open_note(services: Services, click: Click) -> None:
    services.require(click.user, ROLE, ACTION)
    with services.database.reading() as session:
        name = _customer_of(session, click.value)[1]
    show_modal(services, click, render.view("score/note", value=click.value, pseudonym=name))


def _open_card(services: Services, click: Click) -> None:
    """Open a modal at once; a worker fills it."""
    name, _, cohort_id = click.value.partition("|")
    with services.database.reading() as session:
        user_roles.require(session, click.user, ROLE, gettext("open a customer"))
        cohort = decisions.find_cohort(session, cohort_id)
        customer_id = customer_directory.find(session, name)
        listed = _listed(session, cohort, customer_id)
    opening = render.view(
        "score/opening",
        pseudonym=name,
        listed=listed,
        model_version=cohort.model_version,
        as_of=cohort.as_of,
        currency=cohort.currency,
        zone=services.settings.timezone,
    )
    view_id = show_modal(services, click, opening)
    request = CustomerCard(customer_id=customer_id, view_id=view_id, channel=click.channel)
    fill_window(services, click, request)


def _listed(session: Transaction, cohort: Cohort, customer_id: str) -> dict[str, Any] | None:
    """Return the customer's row of the list, to show until the card is ready."""
    job = session.get(Job, cohort.job_id) if cohort.job_id else None
    rows = ((job and job.result) or {}).get("cohort", ())
    return next((row for row in rows if row["customer_id"] == customer_id), None)


def _customer_of(session: Transaction, job_id: str) -> tuple[str, str, Job]:
    """Return id, pseudonym and job of a card."""
    job = customer_cards.find_card(session, job_id)
    customer_id = str((job.result or {})["customer_id"])
    return customer_id, pseudonym(session.settings.key, customer_id), job


def _pause(services: Services, click: Click) -> None:
    deed, _, job_id = click.value.partition("|")
    with once(services, click, ROLE, ACTION) as session:
        customer_id, _, _ = _customer_of(session, job_id)
        change = pauses.pause if deed == "pause" else pauses.resume
        change(session, customer_id, click.user, clock.now())
        customer_cards.refresh(session, customer_id, [job_id])


def _save_note(services: Services, click: Click, ack: Ack) -> None:
    with once(services, click, ROLE, ACTION) as session:
        customer_id, _, _ = _customer_of(session, click.value)
        pauses.add_note(session, customer_id, click.answer("note"), click.user, clock.now())
        customer_cards.refresh(session, customer_id, [click.value])
    ack()


def _open_call_of_card(services: Services, click: Click) -> None:
    services.require(click.user, ROLE, ACTION)
    with services.database.reading() as session:
        customer_id, _, _ = _customer_of(session, click.value)
        entry = calls.latest_entry(session, [customer_id])
        is_open = entry is not None and entry.outcome is None
        campaign_id = entry.campaign_id if entry is not None and is_open else ""
    _open_call(services, click, campaign_id, customer_id, click.value)


def _open_call_of_list(services: Services, click: Click) -> None:
    campaign_id, _, name = click.value.partition("|")
    services.require(click.user, ROLE, ACTION)
    with services.database.reading() as session:
        customer_id = customer_directory.find(session, name)
    _open_call(services, click, campaign_id, customer_id, "")


def _open_call(
    services: Services, click: Click, campaign_id: str, customer_id: str, card: str
) -> None:
    """Open the window at once; a worker adds the phone number and what to say."""
    with services.database.reading() as session:
        values = call_messages.window_values(
            session, campaign_id=campaign_id, customer_id=customer_id, card=card, owner=click.user
        )
    view_id = show_modal(services, click, call_messages.window(values))
    request = CallWindow(
        campaign_id=campaign_id, customer_id=customer_id, view_id=view_id, card=card
    )
    fill_window(services, click, request)


def _save_call(services: Services, click: Click, ack: Ack) -> None:
    now = clock.now()
    due, chosen = click.input("due").get("selected_date"), click.option("outcome")
    plan = calls.Plan(
        owner=click.input("owner").get("selected_user"),
        due_on=_date(due) if due else (now + timedelta(days=calls.DUE_DAYS)).date(),
        outcome=None if chosen in (None, call_messages.TO_DO) else chosen,
        note=click.answer("note"),
    )
    with once(services, click, ROLE, ACTION) as session:
        _store_call(session, click, now, plan)
    ack()


def _store_call(session: Transaction, click: Click, now: datetime, plan: calls.Plan) -> None:
    campaign_id, name, card = click.value.split("|")
    customer_id = customer_directory.find(session, name)
    known = calls.find_entry(session, campaign_id, customer_id)
    known_owner = known.owner if known else None
    entry = calls.save_entry(session, campaign_id, customer_id, click.user, now, plan)
    call_messages.notify_owner(session, entry, click.user, known_owner)
    call_messages.refresh(session, campaign_id)
    customer_cards.refresh(session, customer_id, [card])


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        sentence = gettext("The due date is {text!r}; choose a day in the calendar.")
        raise BadInput(sentence.format(text=text), field="due") from None


def _draft(services: Services, click: Click, job_id: str) -> None:
    with once(services, click, ROLE, ACTION) as session:
        customer_id, name, card = _customer_of(session, job_id)
        channel = click.channel or card.args.get("channel") or click.user
        text = gettext("Offer for {name}")
        request = CampaignDraft(customer_id=customer_id, name=text.format(name=name))
        submission = click.submit(session, request, channel)
    confirm(services, click, submission, private=channel == click.user)


def _details(services: Services, click: Click, job_id: str) -> None:
    services.require(click.user, ROLE, ACTION)
    with services.database.reading() as session:
        _, name, job = _customer_of(session, job_id)
        values = {"intent_note": "", **(job.result or {}), "pseudonym": name, "shown_in": job_id}
    view = render.view("score/details", **values, zone=services.settings.timezone)
    show_modal(services, click, view)


def _feedback(services: Services, click: Click, verdict: str, job_id: str) -> None:
    """Store feedback on the card's score, as the buttons of older cards do."""
    services.require(click.user, ROLE, ACTION)
    with services.database.reading() as session:
        _, name, job = _customer_of(session, job_id)
        result = job.result or {}
    fields = verdict, name, result["model_version"], result["as_of"]
    feedback.judge(services, replace(click, value="|".join(map(str, fields))))
