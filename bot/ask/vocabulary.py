"""The names that a shop and a thread have, as far as a sentence may use them."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sqlalchemy import select

from bot.ask.places import Places, shop_places
from retention.audiences import store
from retention.db.tables import Campaign
from retention.lake import customer_directory
from retention.lake.customer_directory import stored_goods

if TYPE_CHECKING:
    from bot.services import Services

MAX_CAMPAIGNS = 200  # the newest


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Names of saved audiences, places, campaigns and goods, and the thread's listed customers."""

    audiences: Collection[str] = ()
    places: Places | None = None
    campaigns: Mapping[str, str] = field(default_factory=dict)  # name by id
    goods: Mapping[str, tuple[str, str]] = field(default_factory=dict)  # column, value by name
    customers: Sequence[str] = ()
    persons: bool = True  # whether capitals may be a person's name


@dataclass(frozen=True, slots=True)
class ShopNames:
    """What a shop has by name. ``places`` and ``goods`` are read only for what may name one."""

    audiences: Collection[str] = ()
    places: Callable[[], Places | None] | None = None
    campaigns: Mapping[str, str] = field(default_factory=dict)  # name by id
    goods: Callable[[], Mapping[str, tuple[str, str]]] | None = None
    # Tells a person from a group in capitals, such as "Premium Plus".
    may_be_person: Callable[[str], bool] | None = None


def of_shop(services: "Services") -> ShopNames:
    """Return the names that the shop has."""
    settings, database = services.settings, services.database
    newest = (
        select(Campaign.id, Campaign.name)
        .where(Campaign.team_id == settings.team_id)
        .order_by(Campaign.created_at.desc(), Campaign.id)
        .limit(MAX_CAMPAIGNS)
    )
    with database.reading() as session:
        audiences = [each.name for each in store.saved(session)]
        campaigns = dict(session.execute(newest).tuples().all())

    def goods() -> dict[str, tuple[str, str]]:
        with database.reading() as session:
            return stored_goods(session)

    def may_be_person(name: str) -> bool:
        with database.reading() as session:
            return customer_directory.may_be_name(session, name)

    return ShopNames(audiences, lambda: shop_places(services), campaigns, goods, may_be_person)
