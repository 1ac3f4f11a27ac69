"""Make an approved campaign live.

Codes are reserved, the audience is written to the lake, and all codes are issued at once.
"""

import logging
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from sqlalchemy.orm import Session

from retention.db.tables import Campaign, Job
from retention.errors import Refused
from retention.settings import Settings
from retention.text import gettext
from workers import campaign_messages, jobs
from workers.delivery import outbox
from workers.requests import CampaignCsv, CampaignSend
from workers.tasks.interface import Context, Outcome, Post

if TYPE_CHECKING:
    from retention.lake import Lake

log = logging.getLogger(__name__)


def run(request: CampaignSend, context: Context) -> Outcome:
    """Issue the codes of a campaign; may run twice.

    Codes are reserved once, and issued together with the state ``live``.

    Parameters
    ----------
    request : CampaignSend
        The validated request.
    context : Context
        The running attempt.

    Returns
    -------
    Outcome
        Group sizes, the card and the thread messages.
    """
    from retention import clock, impressions
    from retention.campaigns import launch, programme, shop_codes
    from retention.connect.mail import check_channel
    from retention.lake import Lake
    from retention.outreach import send_summary
    from retention.outreach.channels import is_text
    from retention.outreach.shared_numbers import repeated_in_campaign
    from retention.risk.policy import load_policy

    now = clock.now()  # the job may have waited for days
    settings, database, lake = context.settings, context.database, Lake.open(context.settings)
    policy = load_policy(settings)  # an unreadable policy stops the job here
    user, campaign_version = context.requested_by, (request.campaign_id, request.version)
    returned = launch.returned_since_draft(database, settings, lake, request.campaign_id, now)
    doubles = launch.merged_duplicates(database, settings, lake, request.campaign_id) - returned
    held_out = programme.held_out_since_draft(database, settings, policy, request.campaign_id)
    held_out -= returned | doubles
    shared: set[str] = set()
    with database.reading() as session:  # the lake is never read in a transaction that writes
        present = launch.find_campaign(session, settings, request.campaign_id)
        channel = present.body.get("message_channel", "email")
        check_channel(session, settings, channel)
        if is_text(channel):
            shared = repeated_in_campaign(lake, session, policy, request.campaign_id, held_out)
            shared -= returned | doubles | held_out
    with database.transaction() as session:
        campaign, left_out = launch.begin_sending(
            session, settings, *campaign_version, user, now, returned | doubles | held_out | shared
        )
        card = campaign_messages.card_post(settings, campaign, session)
        outbox.put(session, settings, card, default_channel=campaign.channel)
        # Posted here, because a second run of the job would leave out no one.
        groups = (
            ("returned", returned),
            ("doubles", doubles),
            ("programme", held_out),
            ("same_number", shared),
        )
        for what, customers in groups if left_out else ():
            if customers:
                post = campaign_messages.thread_post(
                    settings, campaign, what, user, left_out=len(customers)
                )
                outbox.put(session, settings, post, default_channel=campaign.channel)
    for reserved, needed in launch.reserve_all_codes(database, settings, *campaign_version):
        context.progress(
            reserved,
            needed + 1,
            gettext("{reserved:,} of {needed:,} codes reserved").format(
                reserved=reserved, needed=needed
            ),
        )
    _replace_sold_out(request, context, lake, policy)
    with database.reading() as session:
        treatments = launch.treatment_rows(
            session, launch.find_campaign(session, settings, request.campaign_id)
        )
    lake.upsert("treatments", treatments)

    listed: list[Job] = []

    def apply(session: Session) -> tuple[Post, ...]:
        sent = launch.go_live(session, settings, *campaign_version, user, now)
        impressions.store_campaign(session, settings, sent.campaign, now)
        shop = shop_codes.progress(session, sent.campaign.id)
        waiting = send_summary.waiting_in_files(session, sent.campaign.id)
        # While the shop makes the codes, there is nothing to download.
        files = {} if shop else waiting
        listed.clear()  # a commit may be repeated
        if waiting["call"] and (job := _submit_call_list(session, settings, sent.campaign)):
            listed.append(job)
        return (
            campaign_messages.card_post(settings, sent.campaign, session),
            campaign_messages.clearance_post(settings, sent.campaign),
            campaign_messages.thread_post(
                settings,
                sent.campaign,
                "live",
                user,
                treated=sent.treated,
                control=sent.control,
                codes=sent.codes,
                files=files,
                shop_codes=asdict(shop) if shop else None,
            ),
            *campaign_messages.next_step_posts(settings, sent.campaign, files),
        )

    counts = treatments["arm"].value_counts()
    return Outcome(
        {
            "campaign_id": request.campaign_id,
            "treated": int(counts.get("treatment", 0)),
            "control": int(counts.get("control", 0)),
        },
        apply=apply,
        after_commit=lambda: _wake(settings, listed),
    )


def _submit_call_list(session: Session, settings: Settings, campaign: Campaign) -> Job | None:
    """Send the call list to the person who was chosen at the approval, if they still may see it."""
    if campaign.call_owner is None:
        return None
    try:
        return jobs.submit(
            session,
            settings,
            CampaignCsv(campaign_id=campaign.id, part="calls"),
            requested_by=campaign.call_owner,
            channel=campaign.call_owner,
            idem_key=f"calls:{campaign.id}:{campaign.version}",
            announce=False,  # the list is a message of its own
            limited=False,
        ).job
    except Refused as refusal:
        log.info("the call list was not sent: %s", refusal)
        campaign.call_owner = None
        return None


def _wake(settings: Settings, submitted: list[Job]) -> None:
    for job in submitted:
        jobs.wake(settings, job)


def _replace_sold_out(request: CampaignSend, context: Context, lake: "Lake", policy: Any) -> None:
    """Replace items that are sold out.

    The new items come from the blend that was drawn for the customer.
    """
    from retention import clock
    from retention.campaigns import item_selection
    from retention.recommend.bandit.assignment import lists_by_blend
    from retention.recommend.bandit.thompson import blend_of
    from retention.recommend.catalogue import catalogue
    from retention.recommend.reranking import cached_assortment
    from retention.registry.model_cache import open_recommender

    name = request.campaign_id
    barred = cached_assortment(catalogue(lake), policy.recommend, policy.offer.margin).barred
    with context.database.reading() as session:
        offers = item_selection.offers_with_barred_items(session, name, barred)
        recommender = open_recommender(lake, session, context.settings, policy) if offers else None
    if recommender is not None:
        own = policy.recommend.policy
        blends = {
            customer: blend_of(offer.get("arm", ""), own) for customer, offer in offers.items()
        }
        lists = lists_by_blend(recommender, lake, blends, k=policy.offer.items, as_of=clock.now())
        merge = recommender.merger(lake)
        with context.database.transaction() as session:
            item_selection.replace_items(session, name, offers, lists, merge)
