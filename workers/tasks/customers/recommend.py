"""Recommend items for one customer by direct message."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from retention import clock, impressions
from retention.db import Transaction
from retention.lake import Lake, customer_directory
from retention.privacy import pseudonym
from retention.registry.model_cache import open_recommender
from retention.risk.policy import load_policy
from retention.text import gettext
from workers.job_requests import Recommend
from workers.tasks.interface import Context, Outcome, Post

if TYPE_CHECKING:
    from retention.impressions import Surface
    from retention.recommend import RecommendedItem

HORIZON_DAYS = 28  # if the data is older, the time is the end of the data
MAX_SHOWN = 25  # items in a message


@clock.frozen()  # all parts of a list have one time
def run(request: Recommend, context: Context) -> Outcome:
    """Rank items with the champion recommender.

    Without one, rank by own purchases and popularity.
    """
    settings = context.settings
    lake, policy = Lake.open(settings), load_policy(settings)
    with context.database.reading() as session:
        identity = customer_directory.find_match(session, request.customer_id)
        recommender = open_recommender(lake, session, policy)
    customer = identity.customer_id
    row = recommender.row
    moment = lake.as_of(
        request.as_of, row.horizon_days if row else HORIZON_DAYS, row.cutoff if row else None
    )
    items = recommender.lists(
        lake,
        [customer],
        k=request.k,
        as_of=moment.at,
        policy=request.policy,
        progress=context.progress,
    )[customer]
    list_policy = request.policy or policy.recommend.policy
    data: dict[str, Any] = {
        "customer_id": customer,
        "items": [item.as_dict() for item in items],
        "policy": list_policy,
        "as_of": moment.at.isoformat(),
        "note": " ".join(filter(None, (moment.note, _no_repeats_note(list_policy, items)))),
        "merged": request.merged or identity.merged,
        "model_version": recommender.version,
    }
    shown = data["items"][:MAX_SHOWN]
    values = {
        **data,
        "items": shown,
        "more": len(items) - len(shown),
        "pseudonym": pseudonym(settings.key, customer),
        "shown_in": context.job_id,
    }
    post = Post("recommend/list", values, channel=context.channel and context.requested_by)
    return Outcome(
        data,
        (post,),
        apply=impression_writer(context, "recommend", customer, shown, recommender.version),
    )


def impression_writer(
    context: Context, surface: "Surface", customer: str, items: list[dict[str, Any]], version: str
) -> Callable[[Transaction], None] | None:
    """Return a function that stores the shown list.

    Returns: none in the terminal or for an empty list.
    """
    if context.channel is None or not items:
        return None
    return lambda session: impressions.store_list(
        session,
        context.job_id,
        customer,
        items,
        surface=surface,
        model_version=version,
        at=context.business_at,
    )


def _no_repeats_note(policy: str, items: "list[RecommendedItem]") -> str:
    """Explain a list of repeats that has none."""
    if policy != "repeat" or any(item.source == "buy_again" for item in items):
        return ""
    return gettext("Nothing they bought can be offered again, so these are popular items.")
