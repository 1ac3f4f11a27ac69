"""Handle the window that edits a campaign's message with a live preview."""

from dataclasses import replace
from functools import partial
from typing import Any

from slack_bolt import Ack, App

from bot.services import Services
from bot.slack.groups import address_of
from bot.slack.interactions import Click, Handler, listen, once
from bot.slack.interactions.campaigns import (
    apply_from_modal,
    explains_stale,
    input_of,
    parse_target,
)
from retention import clock
from retention.campaigns.lifecycle.edits import Changes
from retention.campaigns.lifecycle.message_edits import ALL, changed_messages
from retention.campaigns.lifecycle.spec import Body
from retention.campaigns.lifecycle.states import EDITABLE, StaleCampaign, find_campaign
from retention.campaigns.lifecycle.view import campaign_data
from retention.campaigns.message.merged_message import message_for
from retention.campaigns.message.parts import (
    KINDS,
    MAX_PRODUCTS,
    SOURCES,
    Block,
    MessageParts,
    PartChanges,
    parse_blocks,
    usual_blocks,
)
from retention.campaigns.message.preview import (
    Wanted,
    masked_messages,
    missing_values,
    preview_rows,
    send_time,
    with_hidden_products,
)
from retention.campaigns.message.wording import PLACEHOLDERS, default_text, validate_text
from retention.db import Transaction
from retention.db.tables import Campaign
from retention.errors import BadFields, BadInput
from retention.risk.strategy import CODED
from retention.text import gettext
from workers import action_ids, user_roles
from workers.campaigns import decisions
from workers.campaigns.job_requests import CampaignPreview
from workers.delivery import render

CUSTOMERS, REMINDED = 3, 1  # in the preview of each text
ROLE = "analyst"
LINES = ("subject", "preheader", "greeting", "sender_name")
TEXTS = ("copy_text", "reminder_text")
DETAILS = ("source", "count", "category", "picture", "alt", "label", "page")  # of blocks


def register(app: App, services: Services) -> None:
    """Listen to the window's inputs, button and submission."""
    clicks: dict[str, Handler] = {
        action_ids.PREVIEW_COPY: _show_preview,
        action_ids.SEND_TO_ME: _send_to_me,
    }
    listen(app, services, clicks, {action_ids.COPY_VIEW: _save})


def _save(services: Services, click: Click, ack: Ack) -> None:
    with services.database.reading() as session:
        body = Body.of(find_campaign(session, parse_target(click)[0]))
    edit = partial(decisions.edit, changes=_changes(body, click))
    advice = gettext("{stale} Copy your text, close this window and open it once more.")
    apply_from_modal(services, click, ack, edit, advice)


@explains_stale
def open_copy(services: Services, click: Click) -> None:
    """Open the window with the campaign's message."""
    campaign_id, version, _ = parse_target(click)
    with services.database.reading() as session:
        user_roles.require(session, click.user, ROLE, gettext("edit a campaign"))
        campaign = find_campaign(session, campaign_id)
        if campaign.state not in EDITABLE or campaign.version != version:
            raise StaleCampaign(campaign, version)
        target = f"{campaign_id}:{campaign.version}:{click.channel or ''}"
        view = _view(session, campaign, replace(click, value=target, state={}))
    services.client.views_open(trigger_id=click.trigger_id, view=view)


def _show_preview(services: Services, click: Click) -> None:
    """Show the typed message for real customers."""
    click = replace(click, value=click.view["private_metadata"])
    campaign_id, _, _ = parse_target(click)
    with services.database.reading() as session:
        user_roles.require(session, click.user, ROLE, gettext("edit a campaign"))
        shown = _view(session, find_campaign(session, campaign_id), click)
    services.client.views_update(view_id=click.view["id"], view=shown)


def _send_to_me(services: Services, click: Click) -> None:
    """Send the typed message to the person's own address, as a test."""
    opened = replace(click, value=click.view["private_metadata"])
    campaign_id, _, _ = parse_target(opened)
    with services.database.reading() as session:
        body = Body.of(find_campaign(session, campaign_id))
    changes = _changes(body, opened)
    rule, parts = next(iter(changes.messages.items()))
    try:
        text = None if rule else validate_text(changes.copy_text or "")
        changed_messages(body, body, changes.messages)
    except BadInput:
        _show_preview(services, click)  # it explains what is wrong
        return
    request = CampaignPreview(
        campaign_id=campaign_id,
        picture=True,
        to_me=True,
        **address_of(services, click.user),
        copy_text=text,
        group=rule or None,
        typed=parts,
    )
    submission, problem = None, ""
    with once(services, click, request.role, request.deed) as session:
        campaign = find_campaign(session, campaign_id)
        try:
            submission = click.submit(session, request, click.user, announce=False)
        except BadInput as error:
            problem = str(error)
        trial = {"to": request.address, "problem": problem}
        shown = _view(session, campaign, opened, trial=trial)
    if submission is not None and submission.created:
        services.queue.wake(submission.job)
    services.client.views_update(view_id=click.view["id"], view=shown)


def _view(
    session: Transaction, campaign: Campaign, click: Click, *, trial: dict[str, str] | None = None
) -> dict[str, Any]:
    """Render the window: each part, the variables and the messages of some customers."""
    body = Body.of(campaign)
    changes, number = _changes(body, click), _group_number(body, click)
    rule, typed = next(iter(changes.messages.items()))
    body, errors = _with_typed(body, rule, typed)
    stored = body.group_messages.get(rule, MessageParts()) if rule else body.message
    values = stored.model_dump(include={*LINES}) | typed.model_dump(
        include={*LINES}, exclude_none=True
    )
    return render.view(
        "campaign/copy",
        campaign=campaign_data(campaign, session.settings),
        value=click.value,
        rules=[line.rule for line in body.offers] if len(body.offers) > 1 else [],
        group=number,
        lines=[
            {"block": _block_id(number, name), "name": name, "typed": values[name]}
            for name in LINES
        ],
        chosen=_chosen_blocks(body, click, number),
        block_id=partial(_block_id, number),
        kinds=KINDS,
        sources=SOURCES,
        counts=range(1, MAX_PRODUCTS + 1),
        errors=[str(error) for error in errors if error.field not in TEXTS],
        parts=_parts(session, campaign, body, click),
        variables=[f"{{{name}}}" for name in PLACEHOLDERS],
        trial=trial,
    )


def _with_typed(body: Body, rule: str, typed: PartChanges) -> tuple[Body, list[BadInput]]:
    """Return the version with the parts that can be used, and what is wrong with the others."""
    try:
        return changed_messages(body, body, {rule: typed}), []
    except BadFields as refusal:
        errors = list(refusal.errors)
    except BadInput as refusal:
        errors = [refusal]
    unusable = {"text" if error.field in TEXTS else str(error.field) for error in errors}
    given = {*typed.model_dump(exclude_none=True)}
    usable = given - unusable
    if not usable or usable == given:
        return body, errors
    return _with_typed(body, rule, PartChanges(**typed.model_dump(include=usable)))[0], errors


def _chosen_blocks(body: Body, click: Click, number: int) -> dict[str, Any]:
    """Return the chosen kinds in their order, and the details of each block."""
    line = body.offers[number - 1] if number else None
    parts = message_for(body, line.rule) if line else body.message
    has_code = line.coded if line else body.copy_action in CODED
    blocks = {block.kind: block for block in parts.blocks or usual_blocks(has_code=has_code)}
    products, picture, button = (
        blocks.get(kind, Block(kind=kind)) for kind in ("products", "picture", "button")
    )
    details = {
        "source": products.source,
        "category": products.category,
        "count": str(products.count or ""),
        "picture": picture.item_id or picture.url,
        "alt": picture.label,
        "page": button.url,
        "label": button.label,
    }
    kinds = _chosen_kinds(click, number)
    typed = {name: value for name, value in _typed(click, number).items() if name in details}
    return {"kinds": [*blocks] if kinds is None else kinds, **details, **typed}


def _parts(
    session: Transaction, campaign: Campaign, body: Body, click: Click
) -> list[dict[str, Any]]:
    """Check and preview each text of the chosen group."""
    number, show = _group_number(body, click), partial(_part, session, campaign)
    typed = _typed(click, number)
    if number:
        line = body.offers[number - 1]
        text = typed.get("copy_text", body.group_messages.get(line.rule, MessageParts()).text)
        return [show(body, "copy_text", text, Wanted(line.action, line.rule), number)]
    text = typed.get("copy_text", body.copy_text)
    parts = [show(body, "copy_text", text, Wanted(body.copy_action))]
    if body.reminder_action:
        default = default_text(
            body.reminder_action, session.settings, body.message_channel, body.kind
        )
        text = typed.get("reminder_text") or body.reminder_text or default
        parts.append(show(body, "reminder_text", text, Wanted(body.reminder_action)))
    return parts


def _part(
    session: Transaction,
    campaign: Campaign,
    body: Body,
    field: str,
    text: str,
    wanted: Wanted,
    number: int = 0,
) -> dict[str, Any]:
    """Check and preview one of the texts; ``error`` says why it cannot be used."""
    part = {"block": _block_id(number, field), "field": field, "typed": text}
    customers = REMINDED if field == "reminder_text" else CUSTOMERS
    try:
        if text or not number:
            validate_text(text, field)
        rows = preview_rows(session, campaign, customers, wanted)
    except BadInput as refusal:
        return {**part, "error": str(refusal)}
    edited = body if number else body.model_copy(update={field: text})
    shown, sent_at = with_hidden_products(edited, rows), send_time(campaign, clock.now())
    words = message_for(edited, wanted.rule or "", action=wanted.action)
    used = " ".join((words.subject, words.preheader, words.greeting, words.text))
    return {
        **part,
        "error": "",
        "lacks_code": field == "copy_text" and not number and edited.lacks_code,
        "copies": masked_messages(session.settings, edited, shown, sent_at),
        "missing": missing_values(session, campaign, used, wanted),
    }


def _group_number(body: Body, click: Click) -> int:
    """Return the number of the chosen offer group, from 1; 0 for all customers."""
    chosen = click.option("group", action_ids.PREVIEW_COPY) or "0"
    return min(int(chosen), len(body.offers)) if chosen.isdigit() else 0


def _block_id(number: int, field: str) -> str:
    """Return the block id of an input: another one for each group, so that Slack empties it."""
    return f"{number}:{field}" if number else input_of(field)


def _typed(click: Click, number: int) -> dict[str, str]:
    """Return what the window's inputs of a group have, by field; a window may lack some."""
    ids = {field: _block_id(number, field) for field in (*LINES, *TEXTS, *DETAILS)}
    return {
        field: click.answer(block, action_ids.PREVIEW_COPY)
        for field, block in ids.items()
        if block in click.state
    }


def _changes(body: Body, click: Click) -> Changes:
    """Return the changes of the window: of one offer group, or of the message to all."""
    number = _group_number(body, click)
    typed = _typed(click, number)
    lines = {name: typed[name] for name in LINES if name in typed}
    blocks = _typed_blocks(body, click, number, typed)
    if number:
        parts = PartChanges(**lines, blocks=blocks, text=typed.get("copy_text"))
        return Changes(messages={body.offers[number - 1].rule: parts})
    return Changes(
        copy_text=typed.get("copy_text", ""),
        reminder_text=typed.get("reminder_text"),
        messages={ALL: PartChanges(**lines, blocks=blocks)},
    )


def _chosen_kinds(click: Click, number: int) -> list[str] | None:
    """Return the kinds of blocks in the order in which they were chosen."""
    block = _block_id(number, "blocks")
    if block not in click.state:
        return None
    chosen = click.input(block, action_ids.PREVIEW_COPY).get("selected_options") or ()
    return [option["value"] for option in chosen]


def _typed_blocks(body: Body, click: Click, number: int, typed: dict[str, str]) -> str | None:
    """Return the chosen blocks as a command has them; empty if they are those without a choice."""
    kinds = _chosen_kinds(click, number)
    if kinds is None:
        return None
    source = typed.get("source") or "recommended"
    named = f"{source}={typed.get('category', '')}" if source == "category" else source
    details = {
        "products": ":".join(filter(None, (named, typed.get("count")))),
        "picture": f"{typed.get('picture', '')}|{typed.get('alt', '')}",
        "button": f"{typed.get('page', '')}|{typed.get('label', '')}",
    }
    written = ",".join(f"{kind}:{details[kind]}" if kind in details else kind for kind in kinds)
    has_code = body.offers[number - 1].coded if number else body.copy_action in CODED
    usual = (number and body.message.blocks) or usual_blocks(has_code=has_code)
    try:
        return "" if parse_blocks(written) == usual else written
    except BadInput:
        return written
