"""Make an approved campaign live.

Codes are reserved, the audience is written to the lake, and all codes are issued at once.
"""

import logging
from dataclasses import asdict
from functools import partial
from typing import Any

from retention import clock, impressions
from retention.campaigns.codes import shop_code_queue
from retention.campaigns.lifecycle import launch
from retention.campaigns.lifecycle.spec import Body
from retention.campaigns.lifecycle.states import Step, find_campaign
from retention.campaigns.planning import due_and_new_items
from retention.connect.platforms.mail import check_channel
from retention.db import Transaction
from retention.db.tables import Campaign, Job
from retention.errors import Refused
from retention.lake import Lake
from retention.outreach import send_summary
from retention.outreach.adapter import is_text
from retention.outreach.contacts import repeated_in_campaign
from retention.recommend.bandit.assignment import lists_by_blend
from retention.recommend.bandit.thompson import blend_of
from retention.recommend.catalogue import catalogue
from retention.recommend.reranking import cached_assortment
from retention.registry.model_cache import open_recommender
from retention.risk.policy import load_policy
from retention.text import gettext
from workers.campaigns import messages
from workers.campaigns.job_requests import CampaignCsv, CampaignSend
from workers.queue import jobs
from workers.tasks.interface import Context, Outcome, Post

log = logging.getLogger(__name__)


def run_campaign_send(request: CampaignSend, context: Context) -> Outcome:
    """Issue the codes of a campaign; may run twice.

    Codes are reserved once, and issued together with the state ``live``.
    """
    now = clock.now()  # the job may have waited for days
    settings, database, lake = context.settings, context.database, Lake.open(context.settings)
    policy = load_policy(settings)  # an unreadable policy stops the job here
    user = context.requested_by
    step = Step(request.campaign_id, user, request.version, now)
    groups = launch.gone_since_draft(database, lake, policy, request.campaign_id, now)
    gone, shared = set[str]().union(*groups.values()), set[str]()
    with database.reading() as session:  # the lake is never read in a transaction that writes
        present = find_campaign(session, request.campaign_id)
        channel = Body.of(present).message_channel
        check_channel(session, channel)
        if is_text(channel):
            held_out = groups["programme"]
            shared = repeated_in_campaign(lake, session, policy, request.campaign_id, held_out)
            shared -= gone
    with database.transaction() as session:
        campaign, left_out = launch.begin_sending(session, step, gone | shared)
        messages.put(session, campaign, messages.card_post(session, campaign))
        # Posted here, because a second run of the job would leave out no one.
        groups["same_number"] = shared
        for what, customers in groups.items() if left_out else ():
            if customers:
                post = messages.thread_post(settings, campaign, what, user, left_out=len(customers))
                messages.put(session, campaign, post)
    label = gettext("{reserved:,} of {needed:,} codes reserved")
    for reserved, needed in launch.reserve_all_codes(database, step):
        context.progress(reserved, needed + 1, label.format(reserved=reserved, needed=needed))
    _replace_sold_out(request, context, lake, policy)
    with database.reading() as session:
        treatments = launch.treatment_rows(session, find_campaign(session, request.campaign_id))
    lake.upsert("treatments", treatments)

    listed: list[Job] = []

    def apply(session: Transaction) -> tuple[Post, ...]:
        sent = launch.go_live(session, step)
        impressions.store_campaign(session, sent.campaign, now)
        shop = shop_code_queue.progress(session, sent.campaign.id)
        waiting = send_summary.waiting_in_files(session, sent.campaign.id)
        # While the shop makes the codes, there is nothing to download.
        files = {} if shop else waiting
        listed.clear()  # a commit may be repeated
        if waiting["call"] and (job := _submit_call_list(session, sent.campaign)):
            listed.append(job)
        counts = {"treated": sent.treated, "control": sent.control, "codes": sent.codes}
        shown = {**counts, "files": files, "shop_codes": asdict(shop) if shop else None}
        return (
            messages.card_post(session, sent.campaign),
            messages.clearance_post(settings, sent.campaign),
            messages.thread_post(settings, sent.campaign, "live", user, **shown),
            *messages.next_step_posts(settings, sent.campaign, files),
        )

    counts = treatments["arm"].value_counts()
    treated, control = (int(counts.get(arm, 0)) for arm in ("treatment", "control"))
    result = {"campaign_id": request.campaign_id, "treated": treated, "control": control}
    return Outcome(result, apply=apply, after_commit=partial(jobs.wake_all, settings, listed))


def _submit_call_list(session: Transaction, campaign: Campaign) -> Job | None:
    """Send the call list to the person who was chosen at the approval, if they still may see it."""
    if campaign.call_owner is None:
        return None
    try:
        request, owner = CampaignCsv(campaign_id=campaign.id, part="calls"), campaign.call_owner
        key = f"calls:{campaign.id}:{campaign.version}"
        return jobs.submit_due(session, request, key, requested_by=owner, channel=owner).job
    except Refused as refusal:
        log.info("the call list was not sent: %s", refusal)
        campaign.call_owner = None
        return None


def _replace_sold_out(request: CampaignSend, context: Context, lake: "Lake", policy: Any) -> None:
    """Replace items that are sold out.

    The new items come from the blend that was drawn for the customer.
    """
    name = request.campaign_id
    barred = cached_assortment(catalogue(lake), policy.recommend, policy.offer.margin).barred
    with context.database.reading() as session:
        offers = due_and_new_items.offers_with_barred_items(session, name, barred)
        recommender = open_recommender(lake, session, policy) if offers else None
    if recommender is not None:
        own = policy.recommend.policy
        blends = {
            customer: blend_of(offer.get("arm", ""), own) for customer, offer in offers.items()
        }
        lists = lists_by_blend(recommender, lake, blends, k=policy.offer.items, as_of=clock.now())
        merge = recommender.merger(lake)
        with context.database.transaction() as session:
            due_and_new_items.replace_items(session, name, offers, lists, merge)
