"""Handle the window that edits a campaign's message with a live preview."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
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
from retention.campaigns.lifecycle.spec import Body, OfferLine
from retention.campaigns.lifecycle.states import EDITABLE, StaleCampaign, find_campaign
from retention.campaigns.lifecycle.view import campaign_data
from retention.campaigns.message.merged_message import message_for
from retention.campaigns.message.parts import (
    KINDS,
    MAX_PRODUCTS,
    SOURCES,
    Block,
    BlockKind,
    MessageParts,
    PartChanges,
    parse_blocks,
    show_blocks,
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
# Inputs that say more of a block, with its kind and its attribute.
DETAILS: dict[str, tuple[BlockKind, str]] = {
    "source": ("products", "source"),
    "category": ("products", "category"),
    "count": ("products", "count"),
    "heading": ("products", "label"),
    "picture": ("picture", "address"),
    "alt": ("picture", "label"),
    "page": ("button", "address"),
    "label": ("button", "label"),
}


@dataclass(frozen=True, slots=True)
class Typed:
    """What the window has of one offer group, or of the message to all customers."""

    number: int  # of the group, from 1; 0: all
    line: OfferLine | None
    has_code: bool  # if it is for all
    values: dict[str, str] = field(default_factory=dict)  # by field; a window may lack some
    kinds: list[str] = field(default_factory=list)  # of blocks, in the order of choosing

    def block_id(self, name: str) -> str:
        """Return an input's block id: another one for each group, so that Slack empties it."""
        return f"{self.number}:{name}" if self.number else input_of(name)

    @property
    def usual(self) -> tuple[Block, ...]:
        """The default blocks."""
        return usual_blocks(has_code=self.line.coded if self.line else self.has_code)


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
    edit = partial(decisions.edit, changes=_changes(body, _typed(body, click)))
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
    changes = _changes(body, _typed(body, opened))
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
    typed = _typed(body, click)
    rule, changes = next(iter(_changes(body, typed).messages.items()))
    body, errors = _with_typed(body, rule, changes)
    stored = body.group_messages.get(rule, MessageParts()) if rule else body.message
    values = stored.model_dump(include={*LINES}) | typed.values
    return render.view(
        "campaign/copy",
        campaign=campaign_data(campaign, session.settings),
        value=click.value,
        rules=[line.rule for line in body.offers] if len(body.offers) > 1 else [],
        group=typed.number,
        block_id=typed.block_id,
        lines={name: values[name] for name in LINES},
        chosen=_chosen_blocks(body, typed),
        kinds=KINDS,
        sources=SOURCES,
        counts=range(1, MAX_PRODUCTS + 1),
        errors=[str(error) for error in errors if error.field not in TEXTS],
        parts=_parts(session, campaign, body, typed),
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


def _chosen_blocks(body: Body, typed: Typed) -> dict[str, Any]:
    """Return the chosen kinds in their order, and the details of each block."""
    parts = message_for(body, typed.line.rule) if typed.line else body.message
    blocks = {block.kind: block for block in parts.blocks or typed.usual}
    details = {
        name: str(getattr(blocks.get(kind, Block(kind=kind)), attribute) or "")
        for name, (kind, attribute) in DETAILS.items()
    }
    return {"kinds": typed.kinds or [*blocks], **details, **typed.values}


def _parts(
    session: Transaction, campaign: Campaign, body: Body, typed: Typed
) -> list[dict[str, Any]]:
    """Check and preview each text of the chosen group."""
    show, values = partial(_part, session, campaign, body, typed.block_id), typed.values
    if line := typed.line:
        stored = body.group_messages.get(line.rule, MessageParts())
        text = values.get("copy_text", stored.text)
        return [show("copy_text", text, Wanted(line.action, line.rule))]
    parts = [show("copy_text", values.get("copy_text", body.copy_text), Wanted(body.copy_action))]
    if action := body.reminder_action:
        default = default_text(action, session.settings, body.message_channel, body.kind)
        text = values.get("reminder_text") or body.reminder_text or default
        parts.append(show("reminder_text", text, Wanted(action)))
    return parts


def _part(
    session: Transaction,
    campaign: Campaign,
    body: Body,
    block_id: Callable[[str], str],
    name: str,
    text: str,
    wanted: Wanted,
) -> dict[str, Any]:
    """Check and preview one of the texts; ``error`` says why it cannot be used."""
    part = {"block": block_id(name), "field": name, "typed": text}
    customers = REMINDED if name == "reminder_text" else CUSTOMERS
    try:
        if text or not wanted.rule:
            validate_text(text, name)
        rows = preview_rows(session, campaign, customers, wanted)
    except BadInput as refusal:
        return {**part, "error": str(refusal)}
    edited = body if wanted.rule else body.model_copy(update={name: text})
    shown, sent_at = with_hidden_products(edited, rows), send_time(campaign, clock.now())
    words = message_for(edited, wanted.rule or "", action=wanted.action)
    used = " ".join((words.subject, words.preheader, words.greeting, words.text))
    return {
        **part,
        "error": "",
        "lacks_code": name == "copy_text" and not wanted.rule and edited.lacks_code,
        "copies": masked_messages(session.settings, edited, shown, sent_at),
        "missing": missing_values(session, campaign, used, wanted),
    }


def _typed(body: Body, click: Click) -> Typed:
    """Read the window; of another group than before, nothing is typed yet."""
    chosen = click.option("group", action_ids.PREVIEW_COPY) or "0"
    number = min(int(chosen), len(body.offers)) if chosen.isdigit() else 0
    typed = Typed(number, body.offers[number - 1] if number else None, body.copy_action in CODED)
    for name in (*LINES, *TEXTS, *DETAILS):
        if (block := typed.block_id(name)) in click.state:
            typed.values[name] = click.answer(block, action_ids.PREVIEW_COPY)
    options = click.input(typed.block_id("blocks"), action_ids.PREVIEW_COPY)
    typed.kinds.extend(option["value"] for option in options.get("selected_options") or ())
    return typed


def _changes(body: Body, typed: Typed) -> Changes:
    """Return the changes of the window: of one offer group, or of the message to all."""
    values = typed.values
    lines = {name: values[name] for name in LINES if name in values}
    parts = PartChanges(**lines, blocks=_typed_blocks(body, typed))
    if typed.line:
        own = parts.model_copy(update={"text": values.get("copy_text")})
        return Changes(messages={typed.line.rule: own})
    texts = values.get("copy_text", ""), values.get("reminder_text")
    return Changes(copy_text=texts[0], reminder_text=texts[1], messages={ALL: parts})


def _typed_blocks(body: Body, typed: Typed) -> str | None:
    """Return the chosen blocks as a command has them; empty if they are those without a choice."""
    if not typed.kinds:
        return None
    written = show_blocks(tuple(_typed_block(kind, typed.values) for kind in typed.kinds))
    usual = (typed.line and body.message.blocks) or typed.usual
    try:
        return "" if parse_blocks(written) == usual else written
    except BadInput:
        return written


def _typed_block(kind: str, values: dict[str, str]) -> Block:
    """Return a block as typed, which is not validated yet."""
    own = {
        attribute: values[name].strip()
        for name, (of, attribute) in DETAILS.items()
        if of == kind and values.get(name)
    }
    if own.get("source") != "category":
        own.pop("category", None)
    return Block.model_construct(kind=kind, **own)  # type: ignore[arg-type]
