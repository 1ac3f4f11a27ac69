"""Rows, small worlds and single steps in the database that tests of several folders use."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

from retention.db import Database
from retention.db.tables import Assignment, Campaign, Cohort, ModelVersion
from retention.settings import Settings

T = TypeVar("T")


def model_version(settings: Settings, name: str = "v", **fields: Any) -> ModelVersion:
    """Return the row of a churn model whose artefact does not exist."""
    defaults = {
        "kind": "churn",
        "estimator": "logistic",
        "cutoff": datetime(2025, 1, 1, tzinfo=UTC),
        "horizon_days": 28,
        "active_within_days": 56,
        "created_by": "U1",
        "seed": 0,
    }
    texts = dict.fromkeys(("data_fingerprint", "code_version", "artefact", "sha256", "hmac"), "")
    row = {"team_id": settings.team_id, "version": name} | texts | defaults | fields
    return ModelVersion(**row)


def campaign(name: str, **fields: Any) -> Campaign:
    """Return the row of a campaign."""
    row = {"post_key": name, "body": {}, "salt": "s", "drafted_by": "U1"}
    return Campaign(**{"id": name, "name": name} | row | fields)


def assignment(campaign_id: str, customer_id: str, arm: str, **fields: Any) -> Assignment:
    """Return the row of a customer of a campaign."""
    row = {"bucket": 1, "tier": "high"}
    row |= {"churn_probability": 0.6, "expected_value": 10.0, "offer": {}}
    return Assignment(
        **{"campaign_id": campaign_id, "customer_id": customer_id, "arm": arm} | row | fields
    )


def cohort(settings: Settings, name: str, as_of: datetime, **fields: Any) -> Cohort:
    """Return the row of a list of customers at high risk."""
    made = {"model_version": "m", "tiers": ["high"], "size": 1, "revenue_at_risk": 1}
    row = {"team_id": settings.team_id, "run_id": name, "created_by": "U1", **made, **fields}
    return Cohort(id=name, as_of=as_of, **row)


def change(database: Database, deed: Callable[..., T], *args: Any, **options: Any) -> T:
    """Run a function that takes a transaction first."""
    with database.transaction() as session:
        return deed(session, *args, **options)


def read(database: Database, query: Callable[..., T], *args: Any, **options: Any) -> T:
    """Run a function that reads."""
    with database.reading() as session:
        return query(session, *args, **options)


def scalar(database: Database, statement: Any) -> Any:
    """Return the first column of the first row."""
    return read(database, lambda session: session.scalar(statement))


def scalars(database: Database, statement: Any) -> list[Any]:
    """Return the first column of all rows."""
    return read(database, lambda session: list(session.scalars(statement)))


def one(database: Database, statement: Any) -> Any:
    """Return the first column of the only row."""
    return read(database, lambda session: session.scalars(statement).one())


def rows(database: Database, statement: Any) -> list[Any]:
    """Return all rows."""
    return read(database, lambda session: list(session.execute(statement)))


def execute(database: Database, statement: Any) -> None:
    """Run a statement that writes."""
    change(database, lambda session: session.execute(statement))


def add(database: Database, *objects: Any) -> None:
    """Insert rows."""
    change(database, lambda session: session.add_all(objects))
