"""The installation's definition of churn: derived, stored, changed, and followed by models."""

from datetime import timedelta

import pytest
from sqlalchemy import select

from retention import clock
from retention.db.tables import Audit, ModelVersion
from retention.db.tables import ChurnDefinition as Row
from retention.lake import Lake
from retention.registry import champion, promote, roll_back
from retention.registry.churn_definition import (
    ChurnDefinition,
    change_definition,
    current_definition,
    derive_from,
    ensure_definition,
    fitting_definition,
    resolve_definition,
)
from tests import shop as tiny
from tests import world
from tests.world import model_version


@pytest.fixture
def quiet(shop_copy):
    clock.configure(fixed=shop_copy.end)
    return shop_copy


def model(database, name: str, horizon: int, active: int | None) -> ModelVersion:
    fields = {"horizon_days": horizon, "active_within_days": active}
    return model_version(database.settings, name, **fields)


def stored(database) -> list[tuple[int, int | None, str]]:
    columns = (Row.horizon_days, Row.active_within_days, Row.source)
    return [tuple(row) for row in world.rows(database, select(*columns).order_by(Row.id))]


@pytest.fixture
def old(database) -> None:
    """The champion of a definition of 28 and 56 days."""
    row = model(database, "old", 28, 56)
    row.state = "champion"
    world.add(database, row)


def test_derived_definition_is_stored_once(quiet):
    first = ensure_definition(quiet.lake, quiet.database)
    again = ensure_definition(quiet.lake, quiet.database)
    assert first == again == derive_from(quiet.lake)
    assert (first.window, first.source) == ((14, 28), "derived")
    assert stored(quiet.database) == [(14, 28, "derived")]


def test_empty_shop_gets_the_default_and_stores_nothing(settings, database):
    definition = ensure_definition(Lake.open(settings), database)
    assert (definition.window, definition.source) == ((28, 56), "default")
    assert stored(database) == []


def test_model_of_an_earlier_version_defines_churn(old, database, settings):
    """Homes from before had no stored definition."""
    definition = ensure_definition(Lake.open(settings), database)
    assert (definition.window, definition.source) == ((28, 56), "model")


def test_decided_definition_is_not_derived_again(quiet):
    decided = ChurnDefinition(90, None, "person")
    world.change(quiet.database, change_definition, decided, "U1")
    definition = ensure_definition(quiet.lake, quiet.database)
    assert (definition.window, definition.source) == ((90, None), "person")
    assert fitting_definition(quiet.lake, definition).window == (14, 28)
    entry = world.one(quiet.database, select(Audit).where(Audit.action == "churn.definition"))
    assert (entry.actor, entry.details["horizon_days"]) == ("U1", 90)


@pytest.mark.parametrize(("window", "champion_stays"), [((90, 180), False), ((28, 56), True)])
def test_change_retires_only_a_model_of_another_question(old, database, window, champion_stays):
    new = ChurnDefinition(*window, "person")
    retired = world.change(database, change_definition, new, "U1")
    stays = world.read(database, champion, "churn")
    assert [row and row.version for row in (retired, stays)] == (
        [None, "old"] if champion_stays else ["old", None]
    )
    assert world.read(database, current_definition).window == window


def test_promoted_model_brings_its_definition_and_roll_back_the_old(database):
    for name, horizon in (("first", 28), ("second", 90)):
        world.change(database, promote, model(database, name, horizon, 2 * horizon), "U1")
        clock.configure(fixed=tiny.BEGIN + timedelta(days=horizon))
    assert world.read(database, current_definition).window == (90, 180)
    world.change(database, roll_back, "churn", "U1")
    assert world.read(database, current_definition).window == (28, 56)


def test_options_of_a_command_come_before_the_definition():
    defined = ChurnDefinition(28, 90, "person")
    assert resolve_definition(defined, None) is resolve_definition(defined, 28) is defined
    options = {(90,): (90, 180), (None, None): (28, None), (7, 21): (7, 21)}
    assert {given: resolve_definition(defined, *given).window for given in options} == options
