"""Make an approved campaign live: reserve the codes, write the projection, issue all at once."""

from typing import Any

from sqlalchemy.orm import Session

from workers import campaigns
from workers.delivery import outbox
from workers.requests import CampaignSend
from workers.tasks.contract import Context, Outcome, Post


def run(request: CampaignSend, context: Context) -> Outcome:
    """Send. It may run twice: codes are reserved once, and issued with the state that says so."""
    from retention import clock, impressions
    from retention.campaigns import sending
    from retention.lake import Lake
    from retention.outreach import dispatch
    from retention.risk.policy import load_policy

    now = clock.now()  # it may have waited for a worker for days
    settings, database, lake = context.settings, context.database, Lake.open(context.settings)
    policy = load_policy(settings)  # one that cannot be read keeps it from being begun
    who, wanted = context.requested_by, (request.campaign_id, request.version)
    back = sending.returned_customers(database, settings, lake, request.campaign_id, now)
    twice = sending.merged_duplicates(database, settings, lake, request.campaign_id) - back
    with database.transaction() as session:
        dispatch.check_channel(settings)
        campaign, left_out = sending.begin_sending(
            session, settings, *wanted, who, now, back | twice
        )
        # Told here, for a run that dies after this and is taken up again leaves out nobody.
        for what, some in (("returned", back), ("doubles", twice)) if left_out else ():
            if some:
                told = campaigns.line(settings, campaign, what, who, left_out=len(some))
                outbox.put(session, settings, told, default_channel=campaign.channel)
    for reserved, needed in sending.reserve_codes(database, settings, *wanted):
        context.progress(reserved, needed + 1, f"{reserved:,} of {needed:,} codes reserved")
    _restocked(request, context, lake, policy)
    with database.reading() as session:
        treatments = sending.treatment_rows(
            session, sending.find_campaign(session, settings, request.campaign_id)
        )
    lake.upsert("treatments", treatments)

    def apply(session: Session) -> tuple[Post, ...]:
        sent = sending.go_live(session, settings, *wanted, who, now)
        impressions.of_campaign(session, settings, sent.campaign, now)
        return (
            campaigns.card(settings, sent.campaign),
            campaigns.clearance(settings, sent.campaign),
            campaigns.line(
                settings,
                sent.campaign,
                "live",
                who,
                treated=sent.treated,
                control=sent.control,
                codes=sent.codes,
            ),
        )

    counts = treatments["arm"].value_counts()
    return Outcome(
        {
            "campaign_id": request.campaign_id,
            "treated": int(counts.get("treatment", 0)),
            "control": int(counts.get("control", 0)),
        },
        apply=apply,
    )


def _restocked(request: CampaignSend, context: Context, lake: Any, policy: Any) -> None:
    """No copy offers what cannot be bought by now; what takes its place is of the blend that was drawn for the customer."""
    from retention import clock
    from retention.campaigns import item_selection
    from retention.recommend.bandit.assignment import blended
    from retention.recommend.bandit.thompson import blend_of
    from retention.recommend.catalogue import catalogue
    from retention.recommend.reranking import assortment
    from retention.registry.recommender_in_use import open_desk

    name = request.campaign_id
    barred = assortment(catalogue(lake), policy.recommend, policy.offer.margin).barred
    with context.database.reading() as session:
        offers = item_selection.offers_with_barred_items(session, name, barred)
        desk = open_desk(lake, session, context.settings, policy) if offers else None
    if desk is not None:
        own = policy.recommend.policy
        blends = {who: blend_of(offer.get("arm", ""), own) for who, offer in offers.items()}
        lists = blended(desk, lake, blends, k=policy.offer.items, as_of=clock.now())
        with context.database.transaction() as session:
            item_selection.replace_items(session, name, offers, lists, desk.together(lake))
