"""`campaign`: draft, approve, follow and stop coupon campaigns. `brand`: how e-mails look."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from sqlalchemy import select

from bot.commands.parameters import (
    AUDIENCE,
    CUSTOMER,
    MONEY,
    PERCENTAGE,
    PERSON,
    TO_READ,
    TO_WRITE,
    WHERE,
    choice,
    integer,
    option,
    switch,
)
from bot.commands.summaries import SLACK, TERMINAL
from bot.commands.tree import Answer, Call, command, group, request
from bot.slack.groups import address_of
from retention.campaigns.codes import shop_code_queue
from retention.campaigns.lifecycle import states
from retention.campaigns.lifecycle.copy_test import METRICS, OWN, VARIANTS, CopyTest, changed_test
from retention.campaigns.lifecycle.edits import OFFER_KINDS, Changes, normalize_name
from retention.campaigns.lifecycle.message_edits import ALL
from retention.campaigns.lifecycle.spec import Body
from retention.campaigns.lifecycle.states import StaleCampaign, Step, find_campaign
from retention.campaigns.lifecycle.view import campaign_data
from retention.campaigns.message.message_file import message_toml, read_message
from retention.campaigns.message.parts import PartChanges
from retention.campaigns.planning import programme_holdout
from retention.db.audit import history
from retention.db.tables import Campaign
from retention.demo import is_demo_home
from retention.errors import BadInput, NotAllowed
from retention.outreach import send_summary, tracking
from retention.outreach.adapter import EMAIL, MESSAGE_CHANNELS, require_text_channel
from retention.privacy import pseudonym
from retention.risk.strategy import KINDS, WIN_BACK
from retention.text import gettext
from workers.campaigns import call_messages, decisions
from workers.campaigns.follow_ups import channel_request
from workers.campaigns.job_requests import (
    CampaignCsv,
    CampaignDraft,
    CampaignLook,
    CampaignMisuse,
    CampaignPreview,
    CampaignWiden,
)
from workers.customers import audience_filter

# A code block or a phone's keyboard may capitalise the id.
CAMPAIGN_ID = click.argument("campaign", callback=lambda _context, _argument, typed: typed.lower())
VERSION = option("--version", gettext("Only if it still is this version."), integer(), "N")
OFFERS_WITH_TERM = {
    "discount": ("share",),
    "amount": ("amount",),
    "min_order": ("amount", "free_shipping"),
}
MAX_COPIES_SHOWN = 20
PARTS = ("subject", "preheader", "greeting", "sender_name", "blocks")  # options of a message
REASON = option("--reason", gettext("Why; it is shown in the campaign's thread."), required=True)


COMMAND = group("campaign", default="list")


NAME = option("--name", gettext("What to call it."))
DISCOUNT = option("--discount", gettext("Of every coupon."), PERCENTAGE, "PERCENT")
HOLDOUT = option("--holdout", gettext("Share that gets nothing: 10 to 20."), PERCENTAGE, "PERCENT")
BUDGET = option("--budget", gettext("The most it may cost; at most the policy's."), MONEY, "MONEY")


@COMMAND.command(
    "draft",
    request=CampaignDraft,
    help=gettext("Draft a campaign: audience, offers, hold-out, cost and what may come of it."),
)
@option(
    "--cohort", gettext("The id of an earlier at-risk list; else a new list is made."), metavar="ID"
)
@option(
    "--tier",
    gettext(
        "The lowest risk of its customers, or lapsed ones; else the best that the policy allows."
    ),
    choice("high", "medium", "low", "lapsed"),
)
@option(
    "--kind",
    gettext("Win-back is for customers at risk; the others are for everyone of the audience."),
    choice(*KINDS),
)
@NAME
@AUDIENCE
@WHERE
@DISCOUNT
@HOLDOUT
@BUDGET
@option(
    "--channel",
    gettext("How customers get it; each channel needs its own consent."),
    choice(*MESSAGE_CHANNELS),
)
def draft(
    call: Call,
    cohort: str | None,
    name: str | None,
    audience: str | None = None,
    where: str | None = None,
    channel: str | None = None,
    kind: str | None = None,
    **terms: Any,
) -> CampaignDraft:
    """Queue the draft of a campaign."""
    if kind not in (None, WIN_BACK) and (cohort or terms.get("tier")):
        problem = gettext(
            "--kind {kind} is for everyone of an audience; leave out --cohort and --tier, or "
            "name an audience."
        )
        raise BadInput(problem.format(kind=kind), field="kind")
    if cohort is not None:
        with call.database.reading() as session:
            decisions.find_cohort(session, cohort)
    valid_name = None if name is None else normalize_name(name)
    audience = audience_filter.check_exists(call.database, audience)
    require_text_channel(call.settings, channel or EMAIL)
    return request(
        CampaignDraft,
        cohort_id=cohort,
        name=valid_name,
        audience=audience,
        where=audience_filter.check_condition(where),
        message_channel=channel or EMAIL,
        campaign_kind=kind or WIN_BACK,
        **terms,
    )


@COMMAND.command("list", role="viewer", help=gettext("The newest campaigns and where they stand."))
@option("--state", gettext("Only those in this state."), choice(*states.STATES))
def listing(call: Call, state: str | None) -> Answer:
    """List the newest campaigns."""
    settings = call.settings
    query = select(Campaign).where(Campaign.team_id == settings.team_id)
    if state:
        query = query.where(Campaign.state == state)
    query = query.order_by(Campaign.created_at.desc()).limit(20)
    with call.database.reading() as session:
        shown = [campaign_data(one, settings, session) for one in session.scalars(query)]
    return Answer("campaign/list", {"campaigns": shown})


@COMMAND.command(
    "show", role="viewer", help=gettext("One campaign as it stands, and who did what to it.")
)
@CAMPAIGN_ID
def show(call: Call, campaign: str) -> Answer:
    """Show a campaign and its history."""
    settings = call.settings
    with call.database.reading() as session:
        row = find_campaign(session, campaign)
        steps = history(session, row.team_id, row.id, "campaign")
        shown = campaign_data(row, settings, session)
        shown["shop_codes"] = shop_code_queue.waiting(session, row.id)
        shown["reach"] = tracking.reach(session, row.id)
        return Answer("campaign/show", {"campaign": shown, "history": steps})


@COMMAND.command(
    "edit", role="analyst", help=gettext("Write the next version; it has to be submitted (again).")
)
@CAMPAIGN_ID
@VERSION
@NAME
@DISCOUNT
@HOLDOUT
@option("--expires", gettext("How long a code can be used."), integer(), "DAYS")
@option(
    "--copy", gettext("What the customer reads, with {name}, {code} and so on."), into="copy_text"
)
@option(
    "--reminder-copy",
    gettext('What customers without a code read; "" for the default text.'),
    into="reminder_text",
)
@option("--subject", gettext('Subject of the e-mail; "" for the default.'))
@option("--preheader", gettext("What a list of e-mails shows below the subject."))
@option("--greeting", gettext("The first line of the e-mail, with {name}."))
@option("--sender", gettext("Name of the sender; the address stays."), into="sender_name")
@option("--blocks", gettext('Blocks of the e-mail in order: "text,code,products:new:4,button".'))
@option(
    "--group", gettext("Change the message of this offer group only, by its name."), metavar="NAME"
)
@option("--offer", gettext("The same for all customers, calls too."), choice(*OFFER_KINDS))
@option("--amount", gettext("Money off, from --min-order on."), MONEY, "MONEY")
@option("--min-order", gettext("The order value from which it holds."), MONEY, "MONEY")
@BUDGET
@option(
    "--send-on", gettext('Not before, local time: "2025-05-03 09:00", or soon.'), metavar="TIME"
)
@option("--approver", gettext("Ask this person to approve it."), PERSON, "PERSON")
@option(
    "--channel",
    gettext("Draft it anew for those who agreed to this channel."),
    choice(*MESSAGE_CHANNELS),
)
def edit(
    call: Call, campaign: str, version: int | None, channel: str | None = None, **changes: Any
) -> Answer | CampaignWiden:
    """Write the next version of a campaign."""
    if channel is not None:
        return _change_channel(call, campaign, version, channel, changes)
    group_name = changes.pop("group")
    if all(value is None for value in changes.values()):
        raise BadInput(
            gettext("Nothing to change; name what shall, like --discount 12 or --holdout 20.")
        )
    _refuse_unused(changes)
    changes["expires_days"] = changes.pop("expires")
    typed = {name: changes.pop(name) for name in PARTS}
    if group_name:
        typed["text"] = changes.pop("copy_text")
    messages = {group_name or ALL: PartChanges(**typed)} if set(typed.values()) != {None} else {}
    return _apply(call, campaign, version, decisions.edit, Changes(**changes, messages=messages))


def _change_channel(
    call: Call, campaign_id: str, version: int | None, channel: str, changes: dict[str, Any]
) -> CampaignWiden:
    if any(value is not None for value in changes.values()):
        problem = gettext(
            "--channel makes a new audience and a new text; give the other changes in a "
            "second edit."
        )
        raise BadInput(problem, field="message_channel")
    with call.database.reading() as session:
        campaign = find_campaign(session, campaign_id)
    if campaign.state not in states.EDITABLE or version not in (None, campaign.version):
        raise StaleCampaign(campaign, campaign.version if version is None else version)
    return channel_request(call.settings, campaign, channel)


def _refuse_unused(changes: dict[str, Any]) -> None:
    """Refuse a term that the chosen offer does not use.

    The modal shows all terms, so this check is only for typed commands.
    """
    offer = changes["offer"]
    for term, offers in OFFERS_WITH_TERM.items():
        if offer is not None and changes[term] is not None and offer not in offers:
            fits = gettext(" or ").join(f"--offer {name}" for name in offers)
            problem = gettext(
                "--{term} is for {fits}, not for --offer {offer}; leave one of the two out."
            )
            raise BadInput(problem.format(term=term.replace("_", "-"), fits=fits, offer=offer))


@COMMAND.command(
    "message",
    role="analyst",
    surfaces=TERMINAL,
    help=gettext("Its message as a TOML file: print it, write it, or take a changed one."),
)
@CAMPAIGN_ID
@VERSION
@option("--out", gettext("Write the message to this file."), TO_WRITE, "FILE")
@option("--file", gettext("Read the next version's message from it."), TO_READ, "FILE", into="path")
def message(
    call: Call, campaign: str, version: int | None, out: Path | None, path: Path | None
) -> Answer:
    """Print or write a campaign's message, or write the next version from a file."""
    if path:
        return _apply(call, campaign, version, decisions.edit, read_message(path))
    with call.database.reading() as session:
        text = message_toml(Body.of(find_campaign(session, campaign)))
    if out:
        out.write_text(text, encoding="utf-8")
    return Answer("campaign/message", {"message": text, "path": str(out) if out else None})


@COMMAND.command(
    "variants",
    role="analyst",
    help=gettext("Test other subjects, texts or discounts, and let the better one win."),
)
@CAMPAIGN_ID
@VERSION
@option("--variant", gettext("Which one to write; A is the campaign's own."), choice(*VARIANTS))
@option("--subject", gettext("Its subject."))
@option("--preheader", gettext("What a list of e-mails shows below the subject."))
@option("--copy", gettext("Its text."), into="text")
@option("--blocks", gettext("Its blocks in their order, like text, code, products:new:4."))
@option("--discount", gettext("Its discount, of every coupon."), PERCENTAGE, "PERCENT")
@switch("--remove", gettext("Remove this variant."))
@option("--share", gettext("Share of the customers that tests: 10 to 100."), PERCENTAGE, "PERCENT")
@option("--days", gettext("Days until the winner goes to the rest."), integer(), "DAYS")
@option("--metric", gettext("What decides."), choice(*METRICS))
@option(
    "--explore",
    gettext("Share drawn evenly: 10 to 100; the others get what past tests favour."),
    PERCENTAGE,
    "PERCENT",
)
def variants(call: Call, campaign: str, version: int | None, **options: Any) -> Answer:
    """Show the test of a campaign, or change it in its next version."""
    with call.database.reading() as session:
        row = find_campaign(session, campaign)
        test = Body.of(row).test or CopyTest(variants=())
        if not any(value not in (None, False) for value in options.values()):
            shown = campaign_data(row, call.settings, session)
            return Answer("campaign/variants", {"campaign": shown})
    parts = {name: options.pop(name) for name in ("subject", "preheader", "text", "blocks")}
    changes = Changes(test=changed_test(test, message=PartChanges(**parts), **options))
    return _apply(call, campaign, version, decisions.edit, changes)


@COMMAND.command("submit", role="analyst", help=gettext("Hand a draft to the approvers."))
@CAMPAIGN_ID
@VERSION
def submit(call: Call, campaign: str, version: int | None) -> Answer:
    """Submit a draft to the approvers."""
    services = call.services
    if call.channel and not services.channels.can_post(call.channel):
        with services.database.reading() as session:
            # Without a channel of its own, the campaign would be posted here.
            if find_campaign(session, campaign).channel is None:
                raise BadInput(
                    gettext(
                        "I am no member of this channel, so nobody would see the campaign here. "
                        "`/invite` me, or submit it in a channel where I am."
                    )
                )
    return _apply(call, campaign, version, decisions.submit, call.channel)


@COMMAND.command(
    "approve",
    role="approver",
    help=gettext("Approve what others wrote; it is sent once the clearance time has passed."),
)
@CAMPAIGN_ID
@VERSION
@option(
    "--calls-by", gettext("Who makes its calls, if it has some; by default you."), PERSON, "PERSON"
)
def approve(call: Call, campaign: str, version: int | None, calls_by: str | None = None) -> Answer:
    """Approve a campaign."""
    if call.surface != SLACK and not is_demo_home(call.settings):
        text = gettext(
            "Approvals happen in Slack only, so that nobody approves their own campaign under "
            "another name; an approver types there: `/retention campaign approve {id}`"
        )
        raise NotAllowed(text.format(id=campaign))
    return _apply(call, campaign, version, decisions.approve, calls_by)


@COMMAND.command("reject", role="approver", help=gettext("Say no, and why."))
@CAMPAIGN_ID
@VERSION
@REASON
def reject(call: Call, campaign: str, version: int | None, reason: str) -> Answer:
    """Reject a campaign."""
    return _apply(call, campaign, version, decisions.reject, reason)


@COMMAND.command(
    "stop",
    role="viewer",
    help=gettext("Stop it for good; codes that were not redeemed become void."),
)
@CAMPAIGN_ID
@REASON
def stop(call: Call, campaign: str, reason: str) -> Answer:
    """Stop a campaign and void unused codes."""
    return _apply(call, campaign, None, decisions.stop, reason)


@COMMAND.command(
    "preview",
    request=CampaignPreview,
    help=gettext(
        "A dry run: the first five copies; masked in a channel, in full by direct message."
    ),
)
@CAMPAIGN_ID
@option(
    "--to",
    gettext("Send the first e-mail to your own address, as a test without a valid code."),
    choice("me"),
)
@option("--group", gettext("Only customers of this offer group, by its name."), metavar="NAME")
@option("--customer", gettext("Only this customer."), CUSTOMER, "CUSTOMER")
@option("--variant", gettext("As this variant of the test."), choice(OWN, *VARIANTS))
def preview(
    call: Call,
    campaign: str,
    to: str | None = None,
    group: str | None = None,
    customer: str | None = None,
    variant: str | None = None,
) -> CampaignPreview:
    """Queue a preview of five e-mails, or a test e-mail to the person."""
    found = call.find_customer(customer)["customer_id"] if customer else None
    who = {"campaign_id": _known(call, campaign), "group": group, "customer_id": found}
    who |= {"variant": variant}
    if to is None:
        return request(CampaignPreview, **who)
    address = address_of(call.services, call.user) if call.surface == SLACK else {}
    return request(CampaignPreview, picture=True, to_me=True, **who, **address)


@COMMAND.command(
    "calls",
    request=CampaignCsv,
    private=True,
    help=gettext("The call list with owners, due dates and outcomes, by direct message."),
)
@CAMPAIGN_ID
def call_list(call: Call, campaign: str) -> CampaignCsv:
    """Queue the call list of a campaign."""
    return request(CampaignCsv, campaign_id=_known(call, campaign), part="calls")


@COMMAND.command(
    "my-calls",
    role="analyst",
    help=gettext("The calls that you have to make, the first due first."),
)
def my_calls(call: Call) -> Answer:
    """List a person's open calls."""
    with call.database.reading() as session:
        rows = call_messages.open_calls(session, call.user)
    return Answer("campaign/my_calls", {"calls": rows})


@COMMAND.command(
    "misuse",
    request=CampaignMisuse,
    private=True,
    help=gettext("Codes used twice, by another customer or out of their time, by direct message."),
)
@CAMPAIGN_ID
def misuse(call: Call, campaign: str) -> CampaignMisuse:
    """Queue a report of misused codes."""
    return request(CampaignMisuse, campaign_id=_known(call, campaign))


def _known(call: Call, campaign_id: str) -> str:
    """Return the id of an existing campaign, before anything is queued."""
    with call.database.reading() as session:
        return find_campaign(session, campaign_id).id


def _summary(campaign: Campaign) -> dict[str, str]:
    return {"campaign_id": campaign.id, "name": campaign.name, "state": campaign.state}


@COMMAND.command(
    "held",
    role="analyst",
    help=gettext("Copies of which nobody knows whether they arrived, and why; nobody is named."),
)
@CAMPAIGN_ID
def held(call: Call, campaign: str) -> Answer:
    """List sends with an unknown outcome, without names."""
    settings = call.settings
    with call.database.reading() as session:
        row = find_campaign(session, campaign)
        copies = [
            {
                "copy": send.id,
                "customer": pseudonym(settings.key, send.customer_id),
                "channel": send.channel,
                "attempts": send.attempts,
                "doubt": send.error,
            }
            for send in send_summary.held_sends(session, row.id)
        ]
        details = _summary(row)
    more = max(len(copies) - MAX_COPIES_SHOWN, 0)
    shown = {"campaign": details, "copies": copies[:MAX_COPIES_SHOWN], "more": more}
    return Answer("campaign/held", shown)


@COMMAND.command(
    "release",
    role="approver",
    help=gettext(
        "Held copies: send them again (who has it gets it twice), or let them count as sent."
    ),
)
@CAMPAIGN_ID
@click.argument("how", type=choice("again", "sent"))
@option("--copy", gettext("Only this one of those held."), integer(), "N")
def release(call: Call, campaign: str, how: str, copy: int | None) -> Answer:
    """Send held copies again or count them as sent."""
    sends_again = how == "again"
    with call.database.transaction() as session:
        released = 0
        if call.first_time(session):
            released = decisions.release(session, campaign, call.user, again=sends_again, copy=copy)
        details = _summary(find_campaign(session, campaign))
    return Answer(
        "campaign/released", {"campaign": details, "copies": released, "again": sends_again}
    )


@COMMAND.command(
    "result",
    role="viewer",
    help=gettext("What it really earned, by its hold-out; while it is live, how it does so far."),
)
@CAMPAIGN_ID
def result(call: Call, campaign: str) -> Answer | CampaignLook:
    """Show a campaign's measured result, or queue an interim one."""
    with call.database.reading() as session:
        details = campaign_data(find_campaign(session, campaign))
    if details["result"] is None and details["state"] in ("live", "measuring"):
        return request(CampaignLook, campaign_id=campaign)
    if details["result"] is None or details["never_measured"]:
        return Answer("campaign/unmeasured", {"campaign": details})
    ratio = details["result"]["sample_ratio"]
    sizes = {"treated": ratio["treated"], "control": ratio["control"]}
    shown = {"campaign": details, "measured": details["result"], "with_chart": False, **sizes}
    return Answer("campaign/result", shown)


def _apply(
    call: Call,
    campaign_id: str,
    version: int | None,
    transition: Callable[..., Campaign],
    *more: Any,
) -> Answer:
    """Apply a transition once, even after a repeated delivery."""
    settings = call.settings
    with call.database.transaction() as session:
        campaign = find_campaign(session, campaign_id)
        if call.first_time(session):
            expected = campaign.version if version is None else version
            campaign = transition(session, Step(campaign_id, call.user, expected), *more)
        return Answer("campaign/done", {"campaign": campaign_data(campaign, settings)})


@COMMAND.command(
    "holdout",
    role="admin",
    help=gettext(
        "Leave a share of the customers out of every campaign, to measure what campaigns earn "
        "together; 0 ends it."
    ),
)
@click.argument("percent", type=PERCENTAGE, metavar="PERCENT")
def holdout(call: Call, percent: float) -> Answer:
    """Set the programme's hold-out."""
    with call.database.transaction() as session:
        if call.first_time(session):
            programme_holdout.set_share(session, percent, call.user)
    return Answer("campaign/holdout", {"share": percent})


@command("brand", role="viewer")
def brand(call: Call) -> Answer:
    """Check the brand file and the shop's own texts."""
    from retention.campaigns.message.brand import brand_path, load_brand
    from retention.campaigns.message.wording import load_wording, own_languages, shipped_languages

    settings = call.settings
    brand, own = load_brand(settings), own_languages(settings)
    return Answer(
        "bot/brand",
        {
            "file": brand_path(settings).name,
            "path": str(brand_path(settings)),
            "has_file": brand_path(settings).is_file(),
            **brand.model_dump(mode="json"),
            "shop_language": load_wording(settings).name,
            "languages": sorted({*shipped_languages(), *own}),
            "own_languages": list(own),
        },
    )
