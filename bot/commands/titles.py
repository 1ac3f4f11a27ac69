"""`titles`: the titles of items that customers read."""

from dataclasses import asdict

import click

from bot.commands.parameters import integer, option, switch
from bot.commands.tree import Answer, Call, group
from retention import clock
from retention.errors import BadInput
from retention.lake.item_titles import own_titles, proposed_titles, set_titles
from retention.text import gettext

COMMAND = group("titles", default="propose")


@COMMAND.command(
    "propose",
    role="analyst",
    help=gettext("Readable titles for items that have none of their own, the most sold first."),
)
@option("--top", gettext("How many."), integer(1, 1000), "N", default=30)
def propose(call: Call, top: int) -> Answer:
    """Propose readable titles."""
    proposals = proposed_titles(call.lake, clock.now())
    shown = [asdict(one) for one in proposals[:top]]
    return Answer("titles/proposed", {"titles": shown, "more": len(proposals) - len(shown)})


@COMMAND.command("list", role="analyst", help=gettext("Titles that people set."))
def listing(call: Call) -> Answer:
    """List the titles that people set."""
    rows = [{"item_id": item, "title": title} for item, title in own_titles(call.settings).items()]
    return Answer("titles/list", {"titles": sorted(rows, key=lambda row: row["item_id"])})


@COMMAND.command(
    "set", role="analyst", help=gettext('Set the title of an item; "" takes the item\'s own back.')
)
@click.argument("item")
@click.argument("title")
def change(call: Call, item: str, title: str) -> Answer:
    """Set the title of an item."""
    known = call.lake.table("items")
    if not known.filter(known.item_id == item).count().execute():
        text = gettext("There is no item {item!r}; use an id of your catalogue.")
        raise BadInput(text.format(item=item), field="item")
    return _stored(call, {item: " ".join(title.split())})


@COMMAND.command(
    "accept", role="analyst", help=gettext("Set the proposed titles of some items, or of all.")
)
@click.argument("items", nargs=-1, metavar="[ITEM ...]")
@switch("--all", gettext("Of all items with a proposal."), into="accepts_all")
def accept(call: Call, items: tuple[str, ...], accepts_all: bool) -> Answer:
    """Accept proposed titles."""
    if not items and not accepts_all:
        raise BadInput(gettext("Name the items, or use --all."))
    proposals = {one.item_id: one.proposed for one in proposed_titles(call.lake, clock.now())}
    if unknown := [item for item in items if item not in proposals]:
        text = gettext("There is no proposal for {items}; `retention titles` lists all.")
        raise BadInput(text.format(items=", ".join(unknown[:5])), field="items")
    return _stored(call, {item: proposals[item] for item in items} if items else proposals)


def _stored(call: Call, titles: dict[str, str]) -> Answer:
    with call.database.transaction() as session:
        if call.first_time(session):
            set_titles(session, titles, call.user)
    rows = [{"item_id": item, "title": title} for item, title in titles.items()]
    return Answer("titles/list", {"titles": rows})
