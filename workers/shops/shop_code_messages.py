"""Messages about the codes at a shop."""

from typing import TYPE_CHECKING

from retention import clock
from retention.campaigns.codes import shop_code_check, shop_code_queue
from retention.connect.contract import TEMPORARY
from retention.db import Transaction
from retention.db.tables import Campaign, Connection
from retention.text import gettext
from workers.tasks.interface import Context, Post

if TYPE_CHECKING:
    from retention.connect.contract import ConnectorError

# A shop that does not answer is reported after so many attempts in a row: about seven minutes.
REPORT_AFTER = 4


def waiting(state: shop_code_queue.CodeProgress) -> str:
    """Return the line of a campaign that waits for its codes."""
    text = gettext("Waiting for the shop to make {missing:,} of {total:,} codes")
    return text.format(missing=state.total - state.made, total=state.total)


def problem_posts(
    session: Transaction,
    context: Context,
    campaign: Campaign,
    error: "ConnectorError | None",
    before: shop_code_queue.CodeProgress | None,
) -> tuple[Post, ...]:
    """Return the message about a new problem of a shop, or that it is over.

    `before`: the state before this run.
    Returns: empty if people know already.
    """
    connection = shop_code_queue.shop_of(session, campaign.id)
    state = shop_code_queue.progress(session, campaign.id)
    if connection is None or state is None or before is None:
        return ()
    if error is None:
        is_news = is_reported(before) and not state.error_code
    else:
        is_news = is_reported(state) and not (
            is_reported(before) and before.error_code == error.code
        )
    if not is_news:
        return ()
    values = {
        "shop": connection.name,
        "code": error.code if error else "",
        "detail": error.detail if error else "",
        "campaign": {"name": campaign.name, "campaign_id": campaign.id},
        "codes": state.total,
        "waits": state.is_waiting,
    }
    key = f"shop:{connection.id}:problem:{context.job_id}"
    return (Post("shop/problem", values, key, connection.channel or campaign.channel),)


def is_reported(state: shop_code_queue.CodeProgress) -> bool:
    """Return whether people know of a shop's problem: at once, unless it may pass by itself."""
    return bool(state.error_code) and (
        state.error_code not in TEMPORARY or state.failures >= REPORT_AFTER
    )


def difference_post(
    connection: Connection, differences: shop_code_check.Differences, channel: str | None
) -> Post:
    """Return the message of a nightly check that found differences."""
    counts = {name: getattr(differences, name) for name in ("missing", "extra", "foreign")}
    key = f"shop:{connection.id}:check:{clock.now():%Y-%m-%d}"
    values = {"shop": connection.name, **counts}
    return Post("shop/difference", values, key, connection.channel or channel)
