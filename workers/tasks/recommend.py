"""What one customer would like next: to the direct message of who asked, for it names the customer."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sqlalchemy.orm import Session

from retention import clock
from workers.requests import Recommend
from workers.tasks.contract import Context, Outcome, Post

if TYPE_CHECKING:
    from retention.impressions import Surface
    from retention.recommend import Item

HORIZON_DAYS = 28  # data older than this is looked at from where it ends
SHOWN = 25  # items a message holds


@clock.held()  # business time is a query, and a list is of one moment
def run(request: Recommend, context: Context) -> Outcome:
    """Rank for one customer with the model in use; without one, by own purchases and popularity."""
    from retention.lake import Lake, directory
    from retention.privacy import pseudonym
    from retention.registry.recommender_in_use import open_desk
    from retention.risk.policy import load_policy

    settings = context.settings
    lake, policy = Lake.open(settings), load_policy(settings)
    with context.database.reading() as session:
        asked = directory.find_match(session, settings, request.customer_id)
        desk = open_desk(lake, session, settings, policy)
    customer = asked.customer_id
    row = desk.row
    moment = lake.as_of(
        request.as_of, row.horizon_days if row else HORIZON_DAYS, row.cutoff if row else None
    )
    found = desk.lists(
        lake,
        [customer],
        k=request.k,
        as_of=moment.at,
        policy=request.policy,
        progress=context.progress,
    )[customer]
    asked_policy = request.policy or policy.recommend.policy
    data: dict[str, Any] = {
        "customer_id": customer,
        "items": [item.as_dict() for item in found],
        "policy": asked_policy,
        "as_of": moment.at.isoformat(),
        "note": " ".join(filter(None, (moment.note, _nothing_again(asked_policy, found)))),
        "merged": request.merged or asked.merged,
        "model_version": desk.version,
    }
    shown = data["items"][:SHOWN]
    told = {
        **data,
        "items": shown,
        "more": len(found) - len(shown),
        "pseudonym": pseudonym(settings.key, customer),
        "shown_in": context.job_id,
    }
    post = Post("recommend/list", told, channel=context.channel and context.requested_by)
    return Outcome(data, (post,), apply=seen(context, "recommend", customer, shown, desk.version))


def seen(
    context: Context, surface: "Surface", customer: str, items: list[dict[str, Any]], version: str
) -> Callable[[Session], None] | None:
    """What keeps the list as it is shown, with the message; nothing where nobody is shown one (the terminal)."""
    from retention import impressions

    if context.channel is None or not items:
        return None
    return lambda session: impressions.keep(
        session,
        context.settings,
        context.job_id,
        customer,
        items,
        surface=surface,
        model_version=version,
        at=context.business_at,
    )


def _nothing_again(policy: str, found: "list[Item]") -> str:
    """Says so where a list of repeats has none."""
    if policy != "repeat" or any(item.source == "buy_again" for item in found):
        return ""
    return "Nothing they bought can be offered again, so these are popular items."
