"""Handle the buttons of audiences, and the window that builds one.

The window's first page has rows of field, comparison and value, and shows the expression. The
second page shows the number of customers and saves. A worker counts them, because the bot does not
open the lake; the page is updated once the count is there.
"""

import json
import re
import time
from collections.abc import Container, Sequence
from datetime import datetime
from functools import partial
from itertools import islice
from typing import Any

from slack_bolt import Ack, App
from sqlalchemy import select

from bot.services import Services
from bot.slack.interactions import Click, Handler, listen, once, refresh_window, submit
from retention.audiences import store
from retention.audiences.expression import FIELDS, TIERS, Expression
from retention.audiences.parse import BadExpression, parse
from retention.audiences.plain import understand
from retention.audiences.rows import CONDITIONS, Row, condition_of, expression_of, picked, rows_of
from retention.db import Transaction
from retention.db.tables import Job
from retention.errors import BadInput
from retention.lake.customer_directory import stored_counts
from retention.risk.strategy import KINDS, WIN_BACK
from retention.templating import strip_controls
from retention.text import gettext
from workers import action_ids, user_roles
from workers.campaigns.job_requests import CampaignDraft
from workers.delivery import outbox, render
from workers.job_requests import AudienceSave, Sweep
from workers.queue import jobs
from workers.tasks.interface import Post

FIRST_ROWS, MAX_ROWS = 3, 8
# The rows of a new audience. One that stays without a value is left out.
PRESETS = (Row("risk", ">="), Row("value", ">"), Row("last_order", ">="), Row("bought category"))
WAIT_SECONDS, POLL_SECONDS = 20.0, 0.25
MAX_ATTRIBUTES = 60
MAX_OPTIONS = 600  # of all menus of values together: Slack takes 250 KB per window
OPERATORS = ("=", "!=", ">=", "<=", ">", "<")


def register(app: App, services: Services) -> None:
    """Listen to the buttons, and to the pages of the builder."""
    clicks: dict[Any, Handler] = {
        action_ids.SAVE_AUDIENCE: _save_preview,
        action_ids.AUDIENCE_SWEEP: _sweep,
        action_ids.AUDIENCE_DRAFT: _draft,
        action_ids.EDIT_AUDIENCE: _open,
        re.compile(rf"^{re.escape(action_ids.AUDIENCE_FIELD)}"): _refresh,
        action_ids.AUDIENCE_ROW: partial(_refresh, more=1),
        action_ids.AUDIENCE_BACK: _go_back,
    }
    listen(
        app,
        services,
        clicks,
        {action_ids.AUDIENCE_VIEW: _count, action_ids.AUDIENCE_SAVE_VIEW: _save},
    )


def _sweep(services: Services, click: Click) -> None:
    submit(services, click, Sweep(audience=click.value), check=store.find)


def _draft(services: Services, click: Click) -> None:
    kind, _, name = click.value.rpartition("|")  # a button of an earlier version has only the name
    if kind in KINDS and kind != WIN_BACK:
        request = CampaignDraft(audience=name, campaign_kind=kind)
    else:
        request = CampaignDraft(audience=name, tier="low")
    submit(services, click, request, check=lambda session, _: store.find(session, name))


def _save_preview(services: Services, click: Click) -> None:
    """Save the audience of a preview and replace its buttons."""
    with once(services, click, AudienceSave.role, AudienceSave.deed) as session:
        job = _counting_job(session, click.value)
        if job is None:
            text = gettext("This preview is gone. Type `/retention audience save …` once more.")
            raise BadInput(text)
        preview = job.result or {}
        _save_counted(session, preview, click.user)
        values = {**preview, "saved": True, "saved_by": click.user, "job_id": job.id}
        post = Post("audience/preview", values, key=f"job:{job.id}")
        outbox.put(session, post, default_channel=click.place)


def _counting_job(session: Transaction, job_id: str) -> Job | None:
    """Return the job that counts an audience, if it is one of this desk."""
    job = session.get(Job, job_id)
    is_own = job is not None and job.team_id == session.settings.team_id
    return job if job and is_own and job.kind == AudienceSave.kind else None


def _save_counted(session: Transaction, counted: dict[str, Any], user: str) -> None:
    """Save the audience that a worker counted."""
    store.save(
        session,
        counted["name"],
        parse(counted["expression"]),
        is_exclusion=counted["exclude"],
        counted=store.Counted(counted["customers"], datetime.fromisoformat(counted["as_of"])),
        by=user,
        replaces=(counted.get("replaces") or {}).get("expression"),
    )


# ---------------------------------------------------------------- the window


def _open(services: Services, click: Click) -> None:
    """Open the builder for the expression of a preview, or empty."""
    with services.database.reading() as session:
        user_roles.require(session, click.user, AudienceSave.role, AudienceSave.deed)
        job = _counting_job(session, click.value)  # of no job: "new"
    view = _first_page(services, job.args) if job else _render_rows(services, PRESETS)
    services.client.views_open(trigger_id=click.trigger_id, view=view)


def _go_back(services: Services, click: Click) -> None:
    view = _first_page(services, json.loads(click.view["private_metadata"]))
    services.client.views_update(view_id=click.view["id"], view=view)


def show_in(services: Services, body: dict[str, Any]) -> None:
    """Show the builder in the open window of a click."""
    services.require(Click.of(body).user, AudienceSave.role, AudienceSave.deed)
    view = _render_rows(services, PRESETS)
    services.client.views_update(view_id=body["view"]["id"], view=view)


def _first_page(services: Services, known: dict[str, Any]) -> dict[str, Any]:
    """Render the rows of an audience; an expression that they cannot show is typed."""
    expression = parse(known["expression"])
    rows, any_of = rows_of(expression) or ((), False)
    typed = str(expression) if not 0 < len(rows) <= MAX_ROWS else ""
    form = {"name": known["name"], "exclude": known["exclude"], "any_of": any_of, "typed": typed}
    return _render_rows(services, () if typed else rows, **form)


def _render_rows(
    services: Services,
    rows: Sequence[Row],
    *,
    name: str = "",
    any_of: bool = False,
    typed: str = "",
    exclude: bool = False,
    count: int = FIRST_ROWS,
) -> dict[str, Any]:
    padded = [*rows, *[Row()] * (count - len(rows))][:MAX_ROWS]
    with services.database.reading() as session:
        attributes, counts = _known_attributes(session), stored_counts(session)
    fields = [*FIELDS, *(name for name in attributes if name not in FIELDS)]
    share = MAX_OPTIONS // max(1, sum(row.field in counts for row in padded))
    used = [row.field for row in rows if row.field not in (*fields, *CONDITIONS)]
    return render.view(
        "audience/build",
        rows=[(row, *_menu(row, counts, share)) for row in padded],
        fields=[*fields, *filter(None, dict.fromkeys(used))],
        others=CONDITIONS,
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


def _menu(
    row: Row, counts: dict[str, dict[str, int]], share: int
) -> tuple[dict[str, int], str, str]:
    """Return the values to choose from for a row, the chosen one, and its period.

    `share`: number of values, beside the chosen one.
    """
    known = counts.get(row.field, {})
    chosen, period = picked(row)
    if chosen and chosen not in known:
        return {}, "", ""
    options = dict(islice(known.items(), share))
    return options | ({chosen: known[chosen]} if chosen else {}), chosen, period


def _shown(rows: Sequence[Row], any_of: bool, typed: str) -> str:
    """Return the expression so far; empty while a row is incomplete."""
    if typed.strip():
        return typed.strip()
    try:
        return str(expression_of(list(rows), any_of=any_of))
    except BadInput:
        return ""


def _known_attributes(session: Transaction) -> list[str]:
    """Return the attributes that the newest count found. SQL only: the bot has no lake."""
    is_count = Job.team_id == session.settings.team_id, Job.kind == AudienceSave.kind
    counts = select(Job.result).where(*is_count, Job.state == "done")
    newest = session.scalar(counts.order_by(Job.created_at.desc()).limit(1)) or {}
    return list(newest.get("attributes", []))[:MAX_ATTRIBUTES]


def _form(click: Click) -> dict[str, Any]:
    """Read the first page."""
    rows = [
        Row(
            click.option(f"row.{number}", f"{action_ids.AUDIENCE_FIELD}.field") or "",
            click.option(f"row.{number}", f"{action_ids.AUDIENCE_FIELD}.operator")
            or click.option(f"row.{number}", f"{action_ids.AUDIENCE_FIELD}.equality")
            or "=",
            click.answer(_value_block(click.state, number)),
            click.answer(f"period.{number}") if click.option(f"pick.{number}", "value") else None,
        )
        for number in range(json.loads(click.view["private_metadata"])["rows"])
    ]
    return {
        "rows": rows,
        "name": click.answer("name"),
        "any_of": click.option("join") == "any",
        "typed": click.answer("typed"),
        "exclude": bool(click.input("exclude").get("selected_options")),
        "blocks": set(click.state),
    }


def _refresh(services: Services, click: Click, more: int = 0) -> None:
    """Show the expression of the rows so far, maybe with another row."""
    form = _form(click)
    form.pop("blocks")
    count = min(len(form["rows"]) + more, MAX_ROWS)
    refresh_window(services, click.view, _render_rows(services, **form, count=count))


def _count(services: Services, click: Click, ack: Ack) -> None:
    """Check the form, show the second page, and fill in the count when a worker has it."""
    form = _form(click)
    errors: dict[str, str] = {}
    name = ""
    try:
        name = store.check_name(form["name"])
    except BadInput as error:
        errors["name"] = str(error)
    expression = _expression(form, errors)
    if errors:
        shown = {place: strip_controls(said) for place, said in errors.items()}
        ack(response_action="errors", errors=shown)
        return
    request = AudienceSave(
        name=name, expression=str(expression), exclude=form["exclude"], preview=True
    )
    with services.database.transaction() as session:
        user_roles.require(session, click.user, request.role, request.deed)
        job = click.submit(session, request, None, announce=False).job
    known = request.model_dump(mode="json") | {"job": job.id}
    ack(response_action="update", view=_second_page(known, None))
    services.queue.wake(job)
    finished = _wait(services, job.id)
    view = _second_page(known, finished)
    services.client.views_update(view_id=click.view["id"], view=view)


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
            text = gettext("Fill in a value for {field}.")
            errors[_value_block(form["blocks"], number)] = text.format(field=row.field)
    if not errors and all(row.is_empty for row in form["rows"]):
        errors[_value_block(form["blocks"], 0)] = gettext("Fill in at least one condition.")
    return None if errors else expression_of(form["rows"], any_of=form["any_of"])


def _value_block(blocks: Container[str], number: int) -> str:
    """Return the input of a row's value: a menu, or else text."""
    menus = (f"tier.{number}", f"pick.{number}")
    return next((menu for menu in menus if menu in blocks), f"value.{number}")


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
    shown = {key: known[key] for key in ("name", "expression", "exclude")}
    return render.view(
        "audience/confirm",
        **shown,
        result=result,
        error=(job.error or job.state) if job is not None and result is None else "",
        value=json.dumps({**shown, "job": known["job"]}),
    )


def _save(services: Services, click: Click, ack: Ack) -> None:
    """Save the counted audience, or show the count if it was not there before."""
    known = json.loads(click.value)
    with services.database.transaction() as session:
        user_roles.require(session, click.user, AudienceSave.role, AudienceSave.deed)
        job = _counting_job(session, known["job"])
        counted = job.result if job is not None and job.state == "done" else None
        if counted is None:
            ack(response_action="update", view=_second_page(known, job))
            return
        if click.first_time(session):
            _save_counted(session, counted, click.user)
    shown = {key: counted[key] for key in ("name", "customers", "exclude")}
    ack(response_action="update", view=render.view("audience/saved", **shown))
