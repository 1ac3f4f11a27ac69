"""Build an audience in a modal.

The first page has rows of field, comparison and value, and shows the expression. The second page
shows the number of customers and saves. A worker counts them, because the bot does not open the
lake; the page is updated once the count is there.
"""

import json
import re
import time
from collections.abc import Container
from datetime import datetime
from typing import Any

from slack_bolt import Ack, App
from sqlalchemy import select
from sqlalchemy.orm import Session

from bot.interactions import Click, refresh_window
from bot.services import Services
from retention.audiences import store
from retention.audiences.expression import FIELDS, TIERS, Expression
from retention.audiences.parse import BadExpression, parse
from retention.audiences.plain import understand
from retention.audiences.rows import Row, condition_of, expression_of, rows_of
from retention.db.tables import Job
from retention.errors import BadInput
from retention.text import gettext
from workers import ids, jobs, roles
from workers.delivery import render
from workers.requests import AudienceSave

FIRST_ROWS, MAX_ROWS = 3, 8
# The rows of a new audience. One that stays without a value is left out.
PRESETS = (Row("risk", ">="), Row("value", ">"), Row("last_order", ">="), Row("bought category"))
WAIT_SECONDS, POLL_SECONDS = 20.0, 0.25
MAX_ATTRIBUTES = 60
OPERATORS = ("=", "!=", ">=", "<=", ">", "<")


def register(app: App, services: Services) -> None:
    """Listen to the buttons and pages of the builder.

    Parameters
    ----------
    app : App
        The Slack app.
    services : Services
        The installation's services.
    """

    @app.action(ids.EDIT_AUDIENCE)
    def opened(ack: Ack, body: dict[str, Any]) -> None:
        ack()
        click = Click.of(body)
        open_builder(services, click.trigger_id or "", click.user, click.value)

    @app.action(re.compile(rf"^{re.escape(ids.AUDIENCE_FIELD)}"))
    def chosen(ack: Ack, body: dict[str, Any]) -> None:
        ack()
        _refresh(services, body, more=0)

    @app.action(ids.AUDIENCE_ROW)
    def added(ack: Ack, body: dict[str, Any]) -> None:
        ack()
        _refresh(services, body, more=1)

    @app.view(ids.AUDIENCE_VIEW)
    def submitted(ack: Ack, body: dict[str, Any]) -> None:
        _count(services, ack, body)

    @app.action(ids.AUDIENCE_BACK)
    def back(ack: Ack, body: dict[str, Any]) -> None:
        ack()
        known = json.loads(body["view"]["private_metadata"])
        view = _first_page(services, known["name"], parse(known["expression"]), known["exclude"])
        services.client.views_update(view_id=body["view"]["id"], view=view)

    @app.view(ids.AUDIENCE_SAVE_VIEW)
    def confirmed(ack: Ack, body: dict[str, Any]) -> None:
        _save(services, ack, body)


def open_builder(services: Services, trigger_id: str, user: str, job_id: str = "new") -> None:
    """Open the builder.

    Parameters
    ----------
    services : Services
        The installation's services.
    trigger_id : str
        Of the click or command; it lives three seconds.
    user : str
        Slack user id.
    job_id : str, optional
        A preview whose expression is changed; ``new`` opens an empty form.
    """
    with services.database.reading() as session:
        roles.require(session, services.settings, user, AudienceSave.role, AudienceSave.deed)
        job = session.get(Job, job_id) if job_id != "new" else None
    if job is not None and job.kind == AudienceSave.kind:
        args = job.args
        view = _first_page(services, args["name"], parse(args["expression"]), args["exclude"])
    else:
        view = _render_rows(services, list(PRESETS))
    services.client.views_open(trigger_id=trigger_id, view=view)


def show_in(services: Services, body: dict[str, Any]) -> None:
    """Show the builder in the open window of a click.

    Parameters
    ----------
    services : Services
        The installation's services.
    body : dict
        Slack's payload of a choice in a modal.
    """
    user = Click.of(body).user
    with services.database.reading() as session:
        roles.require(session, services.settings, user, AudienceSave.role, AudienceSave.deed)
    view = _render_rows(services, list(PRESETS))
    services.client.views_update(view_id=body["view"]["id"], view=view)


def _first_page(
    services: Services, name: str, expression: Expression | None, exclude: bool
) -> dict[str, Any]:
    """Render the rows; an expression that they cannot show is typed."""
    parts = rows_of(expression) if expression is not None else ([], False)
    rows, any_of = parts or ([], False)
    if len(rows) > MAX_ROWS:
        parts, rows = None, []
    return _render_rows(
        services,
        rows,
        name=name,
        any_of=any_of,
        typed="" if parts is not None else str(expression),
        exclude=exclude,
    )


def _render_rows(
    services: Services,
    rows: list[Row],
    *,
    name: str = "",
    any_of: bool = False,
    typed: str = "",
    exclude: bool = False,
    count: int = FIRST_ROWS,
) -> dict[str, Any]:
    padded = [*rows, *[Row()] * (max(count, len(rows)) - len(rows))]
    with services.database.reading() as session:
        attributes = _known_attributes(session, services)
    fields = [*FIELDS, *(name for name in attributes if name not in FIELDS)]
    used = [row.field for row in rows if row.field not in fields]
    return render.view(
        "audience/build",
        rows=padded[:MAX_ROWS],
        fields=[*fields, *(name for name in dict.fromkeys(used) if name and " " not in name)],
        operators=OPERATORS,
        tiers=TIERS[::-1],
        name=name,
        any_of=any_of,
        typed=typed,
        exclude=exclude,
        expression=_shown(rows, any_of, typed),
        value=json.dumps({"rows": len(padded)}),
        is_full=len(padded) >= MAX_ROWS,
    )


def _shown(rows: list[Row], any_of: bool, typed: str) -> str:
    """Return the expression so far; empty while a row is incomplete."""
    if typed.strip():
        return typed.strip()
    try:
        return str(expression_of(rows, any_of=any_of))
    except BadInput:
        return ""


def _known_attributes(session: Session, services: Services) -> list[str]:
    """Return the attributes that the newest count found. SQL only: the bot has no lake."""
    results = session.scalars(
        select(Job.result)
        .where(
            Job.team_id == services.settings.team_id,
            Job.kind == AudienceSave.kind,
            Job.state == "done",
        )
        .order_by(Job.created_at.desc())
        .limit(1)
    ).all()
    return list((results[0] or {}).get("attributes", []))[:MAX_ATTRIBUTES] if results else []


def _form(view: dict[str, Any], count: int) -> dict[str, Any]:
    """Read the first page."""
    state = view["state"]["values"]

    def value(block: str, action: str = "value") -> Any:
        element = state.get(block, {}).get(action) or {}
        chosen = element.get("selected_option")
        return chosen["value"] if chosen else element.get("value") or ""

    rows = [
        Row(
            value(f"row.{number}", f"{ids.AUDIENCE_FIELD}.field"),
            value(f"row.{number}", f"{ids.AUDIENCE_FIELD}.operator") or "=",
            value(_value_block(state, number)),
        )
        for number in range(count)
    ]
    boxes = (state.get("exclude", {}).get("value") or {}).get("selected_options") or []
    return {
        "rows": rows,
        "name": value("name"),
        "any_of": value("join") == "any",
        "typed": value("typed"),
        "exclude": bool(boxes),
        "blocks": set(state),
    }


def _refresh(services: Services, body: dict[str, Any], *, more: int) -> None:
    """Show the expression of the rows so far, maybe with another row."""
    view = body["view"]
    count = json.loads(view["private_metadata"])["rows"]
    form = _form(view, count)
    new = _render_rows(
        services,
        form["rows"],
        name=form["name"],
        any_of=form["any_of"],
        typed=form["typed"],
        exclude=form["exclude"],
        count=min(count + more, MAX_ROWS),
    )
    refresh_window(services, view, new)


def _count(services: Services, ack: Ack, body: dict[str, Any]) -> None:
    """Check the form, show the second page, and fill in the count when a worker has it."""
    click, view = Click.of(body), body["view"]
    form = _form(view, json.loads(view["private_metadata"])["rows"])
    errors: dict[str, str] = {}
    try:
        name = store.check_name(form["name"])
    except BadInput as error:
        errors["name"] = str(error)
    expression = _expression(form, errors)
    if errors or expression is None:
        ack(response_action="errors", errors=errors)
        return
    request = AudienceSave(
        name=name, expression=str(expression), exclude=form["exclude"], preview=True
    )
    with services.database.transaction() as session:
        job = jobs.submit(
            session,
            services.settings,
            request,
            requested_by=click.user,
            channel=None,
            idem_key=click.key,
            announce=False,
        ).job
    known = request.model_dump(mode="json") | {"job": job.id}
    ack(response_action="update", view=_second_page(known, None))
    services.queue.wake(job)
    finished = _wait(services, job.id)
    services.client.views_update(view_id=view["id"], view=_second_page(known, finished))


def _expression(form: dict[str, Any], errors: dict[str, str]) -> Expression | None:
    """Return the form's expression; put errors under their inputs."""
    if form["typed"].strip():
        try:
            return understand(form["typed"])
        except BadInput as error:
            errors["typed"] = str(error)
            return None
    for number, row in enumerate(form["rows"]):
        if not row.is_empty:
            try:
                condition_of(row)
            except BadInput as error:
                errors[_value_block(form["blocks"], number)] = _row_error(error, row)
        elif row.field and row not in PRESETS:
            errors[_value_block(form["blocks"], number)] = gettext(
                "Fill in a value for {field}."
            ).format(field=row.field)
    if not errors and all(row.is_empty for row in form["rows"]):
        errors[_value_block(form["blocks"], 0)] = gettext("Fill in at least one condition.")
    return None if errors else expression_of(form["rows"], any_of=form["any_of"])


def _value_block(blocks: Container[str], number: int) -> str:
    """Return the input of a row's value: a menu for the risk, else text."""
    menu = f"tier.{number}"
    return menu if menu in blocks else f"value.{number}"


def _row_error(error: BadInput, row: Row) -> str:
    """Return the error of a row; a position in it would mean nothing to people."""
    if isinstance(error, BadExpression) and error.nearest:
        message = gettext("{word!r} does not fit {field}. Did you mean {nearest}?")
        return message.format(word=error.word, field=row.field, nearest=error.nearest)
    return str(error)


def _wait(services: Services, job_id: str) -> Job | None:
    """Wait for a job for some seconds; None if it is not over by then."""
    until = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < until:
        with services.database.reading() as session:
            job = session.get(Job, job_id)
        if job is None or job.state not in jobs.OPEN:
            return job
        time.sleep(POLL_SECONDS)
    return None


def _second_page(known: dict[str, Any], job: Job | None) -> dict[str, Any]:
    """Render the count and the button that saves."""
    result = job.result if job is not None and job.state == "done" else None
    return render.view(
        "audience/confirm",
        **{key: known[key] for key in ("name", "expression", "exclude")},
        result=result,
        error=(job.error or job.state) if job is not None and result is None else "",
        value=json.dumps({key: known[key] for key in ("name", "expression", "exclude", "job")}),
    )


def _save(services: Services, ack: Ack, body: dict[str, Any]) -> None:
    """Save the counted audience, or show the count if it was not there before."""
    click = Click.of(body)
    known = json.loads(click.value)
    settings = services.settings
    with services.database.transaction() as session:
        roles.require(session, settings, click.user, AudienceSave.role, AudienceSave.deed)
        job = session.get(Job, known["job"])
        result = job.result if job is not None and job.state == "done" else None
        if job is None or job.team_id != settings.team_id or result is None:
            ack(response_action="update", view=_second_page(known, job))
            return
        if click.first_time(session):
            store.save(
                session,
                settings,
                result["name"],
                parse(result["expression"]),
                is_exclusion=result["exclude"],
                customers=result["customers"],
                as_of=datetime.fromisoformat(result["as_of"]),
                by=click.user,
                replaces=(result.get("replaces") or {}).get("expression"),
            )
    ack(
        response_action="update",
        view=render.view(
            "audience/saved",
            name=result["name"],
            customers=result["customers"],
            exclude=result["exclude"],
        ),
    )
