"""The installation's definition of churn: derived, stored, changed, and followed by models."""

from datetime import timedelta

import pytest
from sqlalchemy import select

from retention import clock
from retention.db.tables import Audit, ModelVersion
from retention.db.tables import ChurnDefinition as Row
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
from tests.world import model_version


@pytest.fixture
def quiet(shop_copy):
    clock.configure(fixed=shop_copy.end)
    return shop_copy


def model(settings, name: str, horizon: int, active: int | None, state: str) -> ModelVersion:
    fields = {"horizon_days": horizon, "active_within_days": active, "state": state}
    return model_version(settings, name, **fields)


def stored(database) -> list[tuple[int, int | None, str]]:
    with database.reading() as session:
        rows = session.scalars(select(Row).order_by(Row.id)).all()
        return [(row.horizon_days, row.active_within_days, row.source) for row in rows]


def test_derived_definition_is_stored_once(quiet):
    first = ensure_definition(quiet.lake, quiet.database)
    again = ensure_definition(quiet.lake, quiet.database)
    assert first == again == derive_from(quiet.lake)
    assert (first.window, first.source) == ((14, 28), "derived")
    assert stored(quiet.database) == [(14, 28, "derived")]


def test_empty_shop_gets_the_default_and_stores_nothing(settings, database):
    from retention.lake import Lake

    definition = ensure_definition(Lake.open(settings), database)
    assert (definition.window, definition.source) == ((28, 56), "default")
    assert stored(database) == []


def test_model_of_an_earlier_version_defines_churn(quiet):
    """Homes from before had no stored definition."""
    with quiet.database.transaction() as session:
        session.add(model(quiet.settings, "old", 28, 56, state="champion"))
    definition = ensure_definition(quiet.lake, quiet.database)
    assert (definition.window, definition.source) == ((28, 56), "model")


def test_decided_definition_is_not_derived_again(quiet):
    with quiet.database.transaction() as session:
        change_definition(session, ChurnDefinition(90, None, "person"), "U1")
    definition = ensure_definition(quiet.lake, quiet.database)
    assert (definition.window, definition.source) == ((90, None), "person")
    assert fitting_definition(quiet.lake, definition).window == (14, 28)
    with quiet.database.reading() as session:
        (entry,) = session.scalars(select(Audit).where(Audit.action == "churn.definition"))
        assert (entry.actor, entry.details["horizon_days"]) == ("U1", 90)


def test_change_retires_the_model_of_the_old_question(settings, database):
    with database.transaction() as session:
        session.add(model(settings, "old", 28, 56, state="champion"))
    with database.transaction() as session:
        retired = change_definition(session, ChurnDefinition(90, 180, "person"), "U1")
        assert retired.version == "old"
    with database.reading() as session:
        assert champion(session, "churn") is None
        assert current_definition(session).window == (90, 180)


def test_change_to_the_models_own_definition_keeps_it(settings, database):
    with database.transaction() as session:
        session.add(model(settings, "old", 28, 56, state="champion"))
    with database.transaction() as session:
        same = ChurnDefinition(28, 56, "person")
        assert change_definition(session, same, "U1") is None
    with database.reading() as session:
        assert champion(session, "churn").version == "old"


def test_promoted_model_brings_its_definition_and_roll_back_the_old(settings, database):
    with database.transaction() as session:
        for name, horizon in (("first", 28), ("second", 90)):
            row = model(settings, name, horizon, 2 * horizon, state="candidate")
            promote(session, row, "U1")
            session.flush()
            clock.configure(fixed=tiny.BEGIN + timedelta(days=horizon))
    with database.reading() as session:
        assert current_definition(session).window == (90, 180)
    with database.transaction() as session:
        roll_back(session, "churn", "U1")
    with database.reading() as session:
        assert current_definition(session).window == (28, 56)


def test_options_of_a_command_come_before_the_definition():
    defined = ChurnDefinition(28, 90, "person")
    assert resolve_definition(defined, None) is defined
    assert resolve_definition(defined, 28) is defined
    assert resolve_definition(defined, 90).window == (90, 180)
    assert resolve_definition(defined, None, None).window == (28, None)
    assert resolve_definition(defined, 7, 21).window == (7, 21)
