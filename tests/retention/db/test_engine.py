"""How the database is reached."""

from typing import Any

import pytest
from sqlalchemy import event

from retention.db import Database


@pytest.mark.parametrize(
    ("url", "milliseconds"), [("", 10_000), ("?tcp_user_timeout=3000", "3000")]
)
def test_a_way_to_the_server_that_was_cut_is_noticed_within_seconds(url, milliseconds):
    """Without it a commit under way waited for a quarter of an hour, and the bot's one writer with it."""
    database = Database(f"postgresql://desk@db.example/desk{url}")
    told: dict[str, Any] = {}

    @event.listens_for(database.engine, "do_connect")
    def _connect(_dialect, _record, _arguments, parameters) -> None:
        told.update(parameters)
        raise ConnectionError

    with pytest.raises(ConnectionError), database.reading() as session:
        session.connection()
    assert told["tcp_user_timeout"] == milliseconds
    assert told["keepalives_idle"] + told["keepalives_count"] * told["keepalives_interval"] <= 15
