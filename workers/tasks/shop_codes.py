"""Make or delete the codes of a campaign at the shop.

Any number of these jobs, one after the other, make each code once. The next tick continues after a
temporary error.
"""

from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy.orm import Session

from workers import campaign_messages, shop_messages
from workers.completion import fenced
from workers.delivery import outbox
from workers.requests import ShopCodes
from workers.tasks.interface import Context, Outcome, Post

if TYPE_CHECKING:
    from retention.campaigns.shop_code_sync import Shop, SyncReport
    from retention.campaigns.shop_codes import CodeProgress
    from retention.connect.contract import MakesCodes

SHOW_EVERY = 5.0  # seconds between two updates of the campaign's message


def run(request: ShopCodes, context: Context) -> Outcome:
    """Bring the shop's codes of a campaign in line with ours.

    Parameters
    ----------
    request : ShopCodes
        The validated request.
    context : Context
        The running attempt.

    Returns
    -------
    Outcome
        Counts, the campaign's message, and a problem of the shop in one sentence.
    """
    from retention.campaigns import shop_codes
    from retention.campaigns.shop_code_sync import SyncReport, sync_campaign
    from retention.connect.code_makers import open_code_maker

    settings, campaign_id = context.settings, request.campaign_id
    with context.database.reading() as session:
        connection = shop_codes.shop_of(session, campaign_id)
        before = shop_codes.progress(session, campaign_id)
    report = SyncReport()
    if connection is not None and connection.state == "active":
        with closing(open_code_maker(settings, connection)) as maker:
            shop, card = _shop(context, campaign_id, maker), _Card(context, campaign_id)
            report = sync_campaign(partial(fenced, context), shop, campaign_id, on_batch=card)
    data = {
        "campaign_id": campaign_id,
        "made": report.made,
        "deleted": report.deleted,
        "refused": report.refused,
        "pending": report.is_pending,
        "error": report.error.code if report.error else None,
    }
    return Outcome(data, apply=lambda session: _posts(session, context, request, report, before))


def _shop(context: Context, campaign_id: str, maker: "MakesCodes") -> "Shop":
    from retention.campaigns import shop_codes
    from retention.campaigns.shop_code_sync import Shop

    emails = {}
    if maker.needs_email:
        from retention.lake import Lake
        from retention.outreach.contacts import find_contacts

        with context.database.reading() as session:
            customers = shop_codes.customers_to_make(session, campaign_id)
        lake = Lake.open(context.settings)
        contacts = find_contacts(lake, customers) if customers else {}
        emails = {customer: contact.email for customer, contact in contacts.items()}
    return Shop(maker, emails)


class _Card:
    """Update the campaign's message after a batch, but not too often."""

    def __init__(self, context: Context, campaign_id: str) -> None:
        self._context, self._campaign_id, self._shown = context, campaign_id, 0.0

    def __call__(self, session: Session) -> None:
        import time

        from retention.campaigns import shop_codes

        state = shop_codes.progress(session, self._campaign_id)
        if state is not None:
            self._context.progress(state.made, max(state.total, 1), shop_messages.waiting(state))
        if time.monotonic() - self._shown >= SHOW_EVERY:
            self._shown = time.monotonic()
            campaign_messages.refresh_card(session, self._context.settings, self._campaign_id)


def _posts(
    session: Session,
    context: Context,
    request: ShopCodes,
    report: "SyncReport",
    before: "CodeProgress | None",
) -> tuple[Post, ...]:
    from retention.campaigns import shop_codes
    from retention.campaigns.states import CLOCK, find_campaign
    from retention.outreach import send_summary

    settings = context.settings
    campaign = find_campaign(session, settings, request.campaign_id)
    state = shop_codes.progress(session, campaign.id)
    campaign_messages.refresh_card(session, settings, campaign.id)
    posts: list[Post] = []
    if before is not None and before.is_waiting and state is not None and not state.is_waiting:
        files = send_summary.waiting_in_files(session, campaign.id)
        line: dict[str, Any] = {"codes": state.made, "refused": state.refused, "shop": state.shop}
        posts.append(campaign_messages.thread_post(settings, campaign, "codes_made", CLOCK, **line))
        posts += campaign_messages.next_step_posts(settings, campaign, files)
    if campaign.state == "cancelled" and report.deleted and not report.is_pending:
        used = shop_codes.used_codes(session, campaign.id)
        posts.append(
            campaign_messages.thread_post(
                settings,
                campaign,
                "codes_deleted",
                CLOCK,
                deleted=report.deleted,
                used=used,
                shop=state.shop if state else "",
            )
        )
    posts += shop_messages.problem_posts(session, context, campaign, report.error, before)
    for post in posts:
        outbox.put(session, settings, post, default_channel=campaign.channel)
    return ()
