"""Test connections to the database."""

from typing import Any

import pytest
from sqlalchemy import event

from retention.db import Database


@pytest.mark.parametrize(
    ("url", "milliseconds"), [("", 10_000), ("?tcp_user_timeout=3000", "3000")]
)
def test_broken_connection_is_detected_within_seconds(url, milliseconds):
    """Else a commit waits a quarter of an hour, and blocks the bot's only writer."""
    database = Database(f"postgresql://desk@db.example/desk{url}")
    parameters_used: dict[str, Any] = {}

    @event.listens_for(database.engine, "do_connect")
    def _connect(_dialect, _record, _arguments, parameters) -> None:
        parameters_used.update(parameters)
        raise ConnectionError

    with pytest.raises(ConnectionError), database.reading() as session:
        session.connection()
    assert parameters_used["tcp_user_timeout"] == milliseconds
    assert (
        parameters_used["keepalives_idle"]
        + parameters_used["keepalives_count"] * parameters_used["keepalives_interval"]
        <= 15
    )
