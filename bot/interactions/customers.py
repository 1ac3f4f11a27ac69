"""Handle the customer card: open it, call, exclude, note, draft, details and feedback."""

from dataclasses import replace
from datetime import date, timedelta
from typing import Any

from slack_bolt import Ack, App
from sqlalchemy.orm import Session

from bot.interactions import Click, confirm, show_modal
from bot.interactions import feedback as feedback_buttons
from bot.services import Services
from retention import clock
from retention.db.tables import Cohort, Job
from retention.errors import BadInput
from retention.lake import customer_directory
from retention.outreach import calls, notes, pauses
from retention.privacy import pseudonym
from retention.text import gettext
from workers import call_lists, campaigns, customer_cards, ids, jobs, roles
from workers.delivery import render
from workers.requests import CallWindow, CampaignDraft, CustomerCard

ROLE = "analyst"
ACTION = gettext("decide on a customer")


def register(app: App, services: Services) -> None:
    """Listen to the select of a list, and to a card's buttons and modals.

    Parameters
    ----------
    app : App
        The Slack app.
    services : Services
        The installation's services.
    """

    @app.action(ids.OPEN_CUSTOMER)
    def opened(ack: Ack, body: dict[str, Any]) -> None:
        ack()
        _open_card(services, Click.of(body))

    @app.action(ids.CARD_PAUSE)
    def paused(ack: Ack, body: dict[str, Any]) -> None:
        ack()
        _pause(services, Click.of(body))

    @app.action(ids.CARD_NOTE)
    def note(ack: Ack, body: dict[str, Any]) -> None:
        ack()
        click = Click.of(body)
        with services.database.reading() as session:
            name = _customer_of(session, services, click, click.value)[1]
        view = render.view("score/note", value=click.value, pseudonym=name)
        show_modal(services, click, view)

    @app.view(ids.NOTE_VIEW)
    def noted(ack: Ack, body: dict[str, Any]) -> None:
        _save_note(services, Click.of(body))
        ack()

    @app.action(ids.CARD_CALL)
    def call(ack: Ack, body: dict[str, Any]) -> None:
        ack()
        _open_call_of_card(services, Click.of(body))

    @app.action(ids.OPEN_CALL)
    def open_call(ack: Ack, body: dict[str, Any]) -> None:
        ack()
        _open_call_of_list(services, Click.of(body))

    @app.view(ids.CALL_VIEW)
    def called(ack: Ack, body: dict[str, Any]) -> None:
        _save_call(services, Click.of(body))
        ack()

    @app.action(ids.CARD_MORE)
    def more(ack: Ack, body: dict[str, Any]) -> None:
        ack()
        click = Click.of(body)
        deed, _, job_id = click.value.partition("|")
        if deed == "draft":
            _draft(services, click, job_id)
        elif deed == "details":
            _details(services, click, job_id)
        else:
            _feedback(services, click, deed, job_id)


def _open_card(services: Services, click: Click) -> None:
    """Open a modal at once; a worker fills it."""
    settings = services.settings
    name, _, cohort_id = click.value.partition("|")
    with services.database.reading() as session:
        roles.require(session, settings, click.user, ROLE, gettext("open a customer"))
        cohort = campaigns.find_cohort(session, settings, cohort_id)
        customer_id = customer_directory.find(session, settings, name)
        listed = _listed(session, cohort, customer_id)
        values = {
            "model_version": cohort.model_version,
            "as_of": cohort.as_of,
            "currency": cohort.currency,
        }
    opening = render.view(
        "score/opening", pseudonym=name, listed=listed, zone=settings.timezone, **values
    )
    view_id = show_modal(services, click, opening)
    with services.database.transaction() as session:
        if not click.first_time(session):
            return
        job = jobs.submit(
            session,
            settings,
            CustomerCard(customer_id=customer_id, view_id=view_id, channel=click.channel),
            requested_by=click.user,
            channel=None,
            idem_key=click.key,
        ).job
    services.queue.wake(job)


def _listed(session: Session, cohort: Cohort, customer_id: str) -> dict[str, Any] | None:
    """Return the customer's row of the list, to show until the card is ready."""
    job = session.get(Job, cohort.job_id) if cohort.job_id else None
    rows = ((job and job.result) or {}).get("cohort", ())
    return next((row for row in rows if row["customer_id"] == customer_id), None)


def _customer_of(
    session: Session, services: Services, click: Click, job_id: str
) -> tuple[str, str, Job]:
    """Return id, pseudonym and job of a card, if the person may decide on customers."""
    roles.require(session, services.settings, click.user, ROLE, ACTION)
    job = customer_cards.find_card(session, services.settings, job_id)
    customer_id = str((job.result or {})["customer_id"])
    return customer_id, pseudonym(services.settings.key, customer_id), job


def _pause(services: Services, click: Click) -> None:
    deed, _, job_id = click.value.partition("|")
    settings, now = services.settings, clock.now()
    with services.database.transaction() as session:
        customer_id, _, _ = _customer_of(session, services, click, job_id)
        if not click.first_time(session):
            return
        if deed == "pause":
            pauses.pause(session, settings, customer_id, click.user, now)
        else:
            pauses.resume(session, settings, customer_id, click.user, now)
        customer_cards.refresh(session, settings, customer_id, [job_id])


def _save_note(services: Services, click: Click) -> None:
    settings = services.settings
    text = _input(click, "note").get("value") or ""
    with services.database.transaction() as session:
        customer_id, _, _ = _customer_of(session, services, click, click.value)
        if not click.first_time(session):
            return
        notes.add_note(session, settings, customer_id, text, click.user, clock.now())
        customer_cards.refresh(session, settings, customer_id, [click.value])


def _open_call_of_card(services: Services, click: Click) -> None:
    settings = services.settings
    with services.database.reading() as session:
        customer_id, _, _ = _customer_of(session, services, click, click.value)
        entry = calls.latest_entry(session, settings, [customer_id])
        is_open = entry is not None and entry.outcome is None
        campaign_id = entry.campaign_id if entry is not None and is_open else ""
    _open_call(services, click, campaign_id, customer_id, click.value)


def _open_call_of_list(services: Services, click: Click) -> None:
    settings = services.settings
    campaign_id, _, name = click.value.partition("|")
    with services.database.reading() as session:
        roles.require(session, settings, click.user, ROLE, ACTION)
        customer_id = customer_directory.find(session, settings, name)
    _open_call(services, click, campaign_id, customer_id, "")


def _open_call(
    services: Services, click: Click, campaign_id: str, customer_id: str, card: str
) -> None:
    """Open the window at once; a worker adds the phone number and what to say."""
    settings = services.settings
    with services.database.reading() as session:
        values = call_lists.window_values(
            session,
            settings,
            campaign_id=campaign_id,
            customer_id=customer_id,
            card=card,
            owner=click.user,
        )
    view_id = show_modal(services, click, call_lists.window(values))
    with services.database.transaction() as session:
        if not click.first_time(session):
            return
        job = jobs.submit(
            session,
            settings,
            CallWindow(
                campaign_id=campaign_id, customer_id=customer_id, view_id=view_id, card=card
            ),
            requested_by=click.user,
            channel=None,
            idem_key=click.key,
        ).job
    services.queue.wake(job)


def _save_call(services: Services, click: Click) -> None:
    settings, now = services.settings, clock.now()
    campaign_id, name, card = click.value.split("|")
    due = _input(click, "due").get("selected_date")
    chosen = (_input(click, "outcome").get("selected_option") or {}).get("value")
    with services.database.transaction() as session:
        roles.require(session, settings, click.user, ROLE, ACTION)
        if not click.first_time(session):
            return
        customer_id = customer_directory.find(session, settings, name)
        known = calls.find_entry(session, settings, campaign_id, customer_id)
        known_owner = known.owner if known else None
        entry = calls.save_entry(
            session,
            settings,
            campaign_id,
            customer_id,
            click.user,
            now,
            owner=_input(click, "owner").get("selected_user"),
            due_on=_date(due) if due else (now + timedelta(days=calls.DUE_DAYS)).date(),
            outcome=None if chosen in (None, call_lists.TO_DO) else chosen,
            note=_input(click, "note").get("value") or "",
        )
        call_lists.notify_owner(session, settings, entry, click.user, known_owner)
        call_lists.refresh(session, settings, campaign_id)
        customer_cards.refresh(session, settings, customer_id, [card])


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise BadInput(
            gettext("The due date is {text!r}; choose a day in the calendar.").format(text=text),
            field="due",
        ) from None


def _input(click: Click, block: str) -> dict[str, Any]:
    return dict(click.state.get(block, {}).get("value") or {})


def _draft(services: Services, click: Click, job_id: str) -> None:
    settings = services.settings
    with services.database.transaction() as session:
        customer_id, name, card = _customer_of(session, services, click, job_id)
        if not click.first_time(session):
            return
        channel = click.channel or card.args.get("channel") or click.user
        request = CampaignDraft(
            customer_id=customer_id, name=gettext("Offer for {name}").format(name=name)
        )
        submission = jobs.submit(
            session,
            settings,
            request,
            requested_by=click.user,
            channel=channel,
            idem_key=click.key,
        )
    confirm(services, click, submission, private=channel == click.user)


def _details(services: Services, click: Click, job_id: str) -> None:
    with services.database.reading() as session:
        _, name, job = _customer_of(session, services, click, job_id)
        values = {"intent_note": "", **(job.result or {}), "pseudonym": name, "shown_in": job_id}
    view = render.view("score/details", **values, zone=services.settings.timezone)
    show_modal(services, click, view)


def _feedback(services: Services, click: Click, verdict: str, job_id: str) -> None:
    """Store feedback on the card's score, as the buttons of older cards do."""
    with services.database.reading() as session:
        _, name, job = _customer_of(session, services, click, job_id)
        result = job.result or {}
    fields = verdict, name, result["model_version"], result["as_of"]
    click = replace(click, value="|".join(map(str, fields)))
    if verdict == "useful":
        feedback_buttons.record_useful(services, click)
    else:
        feedback_buttons.open_reason_modal(services, click)
