"""Make or delete the codes of a campaign at the shop.

Any number of these jobs, one after the other, make each code once. The next tick continues after a
temporary error.
"""

import time
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any

from retention.campaigns.codes import shop_code_queue
from retention.campaigns.codes.shop_code_sync import Shop, SyncReport, sync_campaign
from retention.campaigns.lifecycle.states import CLOCK, find_campaign
from retention.connect.registry import open_code_maker
from retention.db import Transaction
from retention.lake import Lake
from retention.outreach import send_summary
from retention.outreach.contacts import find_contacts
from workers.campaigns import messages
from workers.campaigns.job_requests import ShopCodes
from workers.delivery import outbox
from workers.queue.completion import fenced
from workers.shops import shop_code_messages
from workers.tasks.interface import Context, Outcome, Post

if TYPE_CHECKING:
    from retention.campaigns.codes.shop_code_queue import CodeProgress
    from retention.connect.contract import MakesCodes

SHOW_EVERY = 5.0  # seconds between two updates of the campaign's message


def run(request: ShopCodes, context: Context) -> Outcome:
    """Bring the shop's codes of a campaign in line with ours."""
    settings, campaign_id = context.settings, request.campaign_id
    with context.database.reading() as session:
        connection = shop_code_queue.shop_of(session, campaign_id)
        before = shop_code_queue.progress(session, campaign_id)
    report = SyncReport()
    if connection is not None and connection.state == "active":
        with closing(open_code_maker(settings, connection)) as maker:
            shop, card = _shop(context, campaign_id, maker), _Card(context, campaign_id)
            report = sync_campaign(partial(fenced, context), shop, campaign_id, on_batch=card)
    counts = {"made": report.made, "deleted": report.deleted, "refused": report.refused}
    error = report.error.code if report.error else None
    data = {"campaign_id": campaign_id, **counts, "pending": report.is_pending, "error": error}
    return Outcome(data, apply=lambda session: _posts(session, context, request, report, before))


def _shop(context: Context, campaign_id: str, maker: "MakesCodes") -> "Shop":
    emails = {}
    if maker.needs_email:
        with context.database.reading() as session:
            customers = shop_code_queue.customers_to_make(session, campaign_id)
        lake = Lake.open(context.settings)
        contacts = find_contacts(lake, customers) if customers else {}
        emails = {customer: contact.email for customer, contact in contacts.items()}
    return Shop(maker, emails)


class _Card:
    """Update the campaign's message after a batch, but not too often."""

    def __init__(self, context: Context, campaign_id: str) -> None:
        self._context, self._campaign_id, self._shown = context, campaign_id, 0.0

    def __call__(self, session: Transaction) -> None:
        state = shop_code_queue.progress(session, self._campaign_id)
        if state is not None:
            self._context.progress(
                state.made, max(state.total, 1), shop_code_messages.waiting(state)
            )
        if time.monotonic() - self._shown >= SHOW_EVERY:
            self._shown = time.monotonic()
            messages.refresh_card(session, self._campaign_id)


def _posts(
    session: Transaction,
    context: Context,
    request: ShopCodes,
    report: "SyncReport",
    before: "CodeProgress | None",
) -> tuple[Post, ...]:
    settings = context.settings
    campaign = find_campaign(session, request.campaign_id)
    state = shop_code_queue.progress(session, campaign.id)
    messages.refresh_card(session, campaign.id)
    posts, line = list[Post](), dict[str, Any]()
    if before is not None and before.is_waiting and state is not None and not state.is_waiting:
        files = send_summary.waiting_in_files(session, campaign.id)
        line = {"codes": state.made, "refused": state.refused, "shop": state.shop}
        posts.append(messages.thread_post(settings, campaign, "codes_made", CLOCK, **line))
        posts += messages.next_step_posts(settings, campaign, files)
    if campaign.state == "cancelled" and report.deleted and not report.is_pending:
        used = shop_code_queue.used_codes(session, campaign.id)
        line = {"deleted": report.deleted, "used": used, "shop": state.shop if state else ""}
        posts.append(messages.thread_post(settings, campaign, "codes_deleted", CLOCK, **line))
    posts += shop_code_messages.problem_posts(session, context, campaign, report.error, before)
    for post in posts:
        outbox.put(session, post, default_channel=campaign.channel)
    return ()
