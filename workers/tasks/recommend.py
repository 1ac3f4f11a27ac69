"""What one customer would like next: to the direct message of who asked, for it names the customer."""

from workers.requests import Recommend
from workers.tasks.contract import Context, Outcome, Post

HORIZON_DAYS = 28  # data older than this is looked at from where it ends


def run(request: Recommend, context: Context) -> Outcome:
    """Rank for one customer with the model in use; without one, by own purchases and popularity."""
    from retention.lake import Lake, directory
    from retention.recommend import TrainedRecommender, recommend
    from retention.registry import champion, load

    settings = context.settings
    lake = Lake.open(settings)
    with context.database.reading() as session:
        asked = directory.found(session, settings, request.customer_id)
        row = champion(session, settings, "recommend")
    trained = TrainedRecommender.from_bytes(load(settings, row)) if row is not None else None
    customer = asked.customer_id
    moment = lake.as_of(request.as_of, row.horizon_days if row is not None else HORIZON_DAYS)
    found = recommend(trained, lake, [customer], k=request.k, as_of=moment.at, progress=context.progress)
    data = {
        "customer_id": customer,
        "items": [item.as_dict() for item in found[customer]],
        "as_of": moment.at.isoformat(),
        "note": moment.note,
        "merged": request.merged or asked.merged,
        "model_version": row.version if row is not None else "none",
    }
    return Outcome(data, (Post("recommend/list", data, channel=context.channel and context.requested_by),))
