"""`campaign`: draft, approve, follow and stop coupon campaigns."""

from typing import Any

import click
from sqlalchemy import select

from bot.commands.tree import MONEY, SHARE, Answer, Call, choice, group, request, whole
from retention.campaigns.edits import OFFER_KINDS, Changes, normalize_name
from retention.campaigns.states import STATES, find_campaign
from retention.campaigns.view import campaign_data
from retention.db.audit import history
from retention.db.tables import Campaign
from retention.errors import BadInput
from retention.outreach import send_summary
from retention.privacy import pseudonym
from retention.text import gettext
from workers import campaigns, cohorts
from workers.requests import CampaignDraft, CampaignLook, CampaignMisuse, CampaignPreview

# A code block or a telephone's keyboard may have made capitals of it.
ID = click.argument("campaign", callback=lambda _context, _argument, typed: typed.lower())
VERSION = click.option(
    "--version", type=whole(), metavar="N", help="Only if it still is this version."
)
TERMS = {
    "discount": ("share",),
    "amount": ("amount",),
    "min_order": ("amount", "free_shipping"),
}  # of which offers
SHOWN = 20  # held copies a message lists
REASON = click.option("--reason", required=True, help="Why; it is shown in the campaign's thread.")


@group("campaign", default="list", help="Coupon campaigns: draft, approve, follow.")
def COMMAND() -> None: ...


@COMMAND.command("draft", request=CampaignDraft)
@click.option(
    "--cohort", metavar="ID", help="The cohort of an earlier sweep; else a fresh sweep is made."
)
@click.option(
    "--tier",
    type=choice("high", "medium", "low"),
    default="high",
    help="The lowest tier of a fresh sweep.",
)
@click.option("--name", help="What to call it.")
def draft(call: Call, cohort: str | None, tier: str, name: str | None) -> CampaignDraft:
    """Draft a campaign: audience, offers, hold-out, cost and what may come of it."""
    if cohort is not None:
        with call.services.database.reading() as session:
            cohorts.find(session, call.services.settings, cohort)
    called = None if name is None else normalize_name(name)
    return request(CampaignDraft, cohort_id=cohort, tier=tier, name=called)


@COMMAND.command("list", role="viewer")
@click.option("--state", type=choice(*STATES), help="Only those in this state.")
def listing(call: Call, state: str | None) -> Answer:
    """The newest campaigns and where they stand."""
    team = call.services.settings.team_id
    wanted = (
        select(Campaign)
        .where(Campaign.team_id == team)
        .order_by(Campaign.created_at.desc())
        .limit(20)
    )
    with call.services.database.reading() as session:
        found = session.scalars(wanted.where(Campaign.state == state) if state else wanted).all()
    return Answer("campaign/list", {"campaigns": [campaign_data(campaign) for campaign in found]})


@COMMAND.command("show", role="viewer")
@ID
def show(call: Call, campaign: str) -> Answer:
    """One campaign as it stands, and who did what to it."""
    with call.services.database.reading() as session:
        found = find_campaign(session, call.services.settings, campaign)
        steps = history(session, found.team_id, found.id, "campaign")
        return Answer("campaign/show", {"campaign": campaign_data(found), "history": steps})


@COMMAND.command("edit", role="analyst")
@ID
@VERSION
@click.option("--name", help="What to call it.")
@click.option("--discount", type=SHARE, metavar="PERCENT", help="Of every coupon.")
@click.option("--holdout", type=SHARE, metavar="PERCENT", help="Share that gets nothing: 10 to 20.")
@click.option("--expires", type=whole(), metavar="DAYS", help="How long a code can be used.")
@click.option("--copy", "copy_text", help="What the customer reads, with {name}, {code} and so on.")
@click.option(
    "--offer", type=choice(*OFFER_KINDS), help="The same for everybody who is written to."
)
@click.option("--amount", type=MONEY, metavar="MONEY", help="Money off, from --min-order on.")
@click.option(
    "--min-order", type=MONEY, metavar="MONEY", help="The order value from which it holds."
)
@click.option(
    "--budget", type=MONEY, metavar="MONEY", help="The most it may cost; at most the policy's."
)
@click.option(
    "--send-on", metavar="TIME", help='Not before, local time: "2025-05-03 09:00", or soon.'
)
def edit(call: Call, campaign: str, version: int | None, **changes: Any) -> Answer:
    """Write the next version; it has to be submitted (again)."""
    if all(value is None for value in changes.values()):
        raise BadInput(
            gettext("Nothing to change; name what shall, like --discount 12 or --holdout 20.")
        )
    _refuse_unused(changes)
    changes["expires_days"] = changes.pop("expires")
    return _do(call, campaign, version, campaigns.edit, Changes(**changes))


def _refuse_unused(changes: dict[str, Any]) -> None:
    """A term that the chosen offer has not would be forgotten without a word; the window shows all, so there it is no word."""
    offer = changes["offer"]
    for term, offers in TERMS.items():
        if offer is not None and changes[term] is not None and offer not in offers:
            fits = " or ".join(f"--offer {one}" for one in offers)
            raise BadInput(
                gettext(
                    "--{replace} is for {fits}, not for --offer {offer}; leave one of the two out."
                ).format(replace=term.replace("_", "-"), fits=fits, offer=offer)
            )


@COMMAND.command("submit", role="analyst")
@ID
@VERSION
def submit(call: Call, campaign: str, version: int | None) -> Answer:
    """Hand a draft to the approvers."""
    services = call.services
    if call.channel and not services.places.can_post(call.channel):
        with services.database.reading() as session:
            if (
                find_campaign(session, services.settings, campaign).channel is None
            ):  # it would be shown here
                raise BadInput(
                    gettext(
                        "I am no member of this channel, so nobody would see the campaign here. "
                        "`/invite` me, or submit it in a channel where I am."
                    )
                )
    return _do(call, campaign, version, campaigns.submit, call.channel)


@COMMAND.command("approve", role="approver")
@ID
@VERSION
def approve(call: Call, campaign: str, version: int | None) -> Answer:
    """Approve what others wrote; it is sent once the clearance time has passed."""
    return _do(call, campaign, version, campaigns.approve)


@COMMAND.command("reject", role="approver")
@ID
@VERSION
@REASON
def reject(call: Call, campaign: str, version: int | None, reason: str) -> Answer:
    """Say no, and why."""
    return _do(call, campaign, version, campaigns.reject, reason)


@COMMAND.command("stop", role="viewer")
@ID
@REASON
def stop(call: Call, campaign: str, reason: str) -> Answer:
    """Stop it for good; codes that were not redeemed become void."""
    return _do(
        call, campaign, None, lambda s, t, c, _version, user: campaigns.stop(s, t, c, user, reason)
    )


@COMMAND.command("preview", request=CampaignPreview)
@ID
def preview(call: Call, campaign: str) -> CampaignPreview:
    """A dry run: the first five copies; masked in a channel, in full by direct message."""
    return request(CampaignPreview, campaign_id=_known(call, campaign))


@COMMAND.command("misuse", request=CampaignMisuse, private=True)
@ID
def misuse(call: Call, campaign: str) -> CampaignMisuse:
    """Codes used twice, by another customer or out of their time, by direct message."""
    return request(CampaignMisuse, campaign_id=_known(call, campaign))


def _known(call: Call, campaign_id: str) -> str:
    """The id of a campaign that there is: of any other nothing is queued."""
    with call.services.database.reading() as session:
        return find_campaign(session, call.services.settings, campaign_id).id


def _titled(campaign: Campaign) -> dict[str, str]:
    return {"campaign_id": campaign.id, "name": campaign.name, "state": campaign.state}


@COMMAND.command("held", role="analyst")
@ID
def held(call: Call, campaign: str) -> Answer:
    """Copies of which nobody knows whether they arrived, and why; nobody is named."""
    settings = call.services.settings
    with call.services.database.reading() as session:
        found = find_campaign(session, settings, campaign)
        copies = [
            {
                "copy": send.id,
                "customer": pseudonym(settings.key, send.customer_id),
                "channel": send.channel,
                "attempts": send.attempts,
                "doubt": send.error,
            }
            for send in send_summary.held_sends(session, found.id)
        ]
        told = _titled(found)
    return Answer(
        "campaign/held",
        {"campaign": told, "copies": copies[:SHOWN], "more": max(len(copies) - SHOWN, 0)},
    )


@COMMAND.command("release", role="approver")
@ID
@click.argument("how", type=choice("again", "sent"))
@click.option("--copy", type=whole(), metavar="N", help="Only this one of those held.")
def release(call: Call, campaign: str, how: str, copy: int | None) -> Answer:
    """Held copies: send them again (who has it gets it twice), or let them count as sent."""
    settings, again = call.services.settings, how == "again"
    with call.services.database.transaction() as session:
        freed = 0
        if call.first_time(session):
            freed = campaigns.release(
                session, settings, campaign, call.user, again=again, copy=copy
            )
        found = find_campaign(session, settings, campaign)
        told = _titled(found)
    return Answer("campaign/released", {"campaign": told, "copies": freed, "again": again})


@COMMAND.command("result", role="viewer")
@ID
def result(call: Call, campaign: str) -> Answer | CampaignLook:
    """What it really earned, by its hold-out; while it is live, how it does so far."""
    with call.services.database.reading() as session:
        told = campaign_data(find_campaign(session, call.services.settings, campaign))
    if told["result"] is None and told["state"] in ("live", "measuring"):
        return request(CampaignLook, campaign_id=campaign)
    if told["result"] is None or told["never_measured"]:
        return Answer("campaign/unmeasured", {"campaign": told})
    ratio = told["result"]["sample_ratio"]
    return Answer(
        "campaign/result",
        {
            "campaign": told,
            "measured": told["result"],
            "with_chart": False,
            "treated": ratio["treated"],
            "control": ratio["control"],
        },
    )


def _do(call: Call, campaign_id: str, version: int | None, deed: Any, *more: Any) -> Answer:
    """Do a deed once, even if the command is delivered twice."""
    settings = call.services.settings
    with call.services.database.transaction() as session:
        campaign = find_campaign(session, settings, campaign_id)
        if call.first_time(session):
            seen = campaign.version if version is None else version
            campaign = deed(session, settings, campaign_id, seen, call.user, *more)
        return Answer("campaign/done", {"campaign": campaign_data(campaign)})
