"""What outlives a restart of the demo: messages, files, memberships, Home tabs. One SQLite file, written through.

The bot's outbox points to messages by their ``ts``; a workspace that forgot them would make every later
``chat.update`` fail.
"""

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from retention.folders import private


class Store:
    """Named JSON things with optional bytes, kept by kind and key.

    Parameters
    ----------
    path : Path or None
        The SQLite file; None keeps everything in memory.
    """

    def __init__(self, path: Path | None = None) -> None:
        if path:
            private(path.parent)
        self._connection = sqlite3.connect(
            path or ":memory:", isolation_level=None, check_same_thread=False
        )
        for statement in (
            "PRAGMA journal_mode=WAL",
            "PRAGMA synchronous=NORMAL",
            "CREATE TABLE IF NOT EXISTS things (kind TEXT, key TEXT, body TEXT, content BLOB, PRIMARY KEY (kind, key))",
        ):
            self._connection.execute(statement)

    def put(self, kind: str, key: str, body: dict[str, Any], content: bytes | None = None) -> None:
        """Keep a thing, replacing an earlier one of that kind and key."""
        self._connection.execute(
            "INSERT OR REPLACE INTO things VALUES (?, ?, ?, ?)",
            (kind, key, json.dumps(body), content),
        )

    def drop(self, kind: str, key: str) -> None:
        """Forget a thing."""
        self._connection.execute("DELETE FROM things WHERE kind = ? AND key = ?", (kind, key))

    def all(self, kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Every thing of a kind by key, without its bytes."""
        rows = self._connection.execute(
            "SELECT key, body FROM things WHERE kind = ? ORDER BY key", (kind,)
        ).fetchall()
        return ((key, json.loads(body)) for key, body in rows)

    def content(self, kind: str, key: str) -> bytes | None:
        """The bytes of a thing."""
        row = self._connection.execute(
            "SELECT content FROM things WHERE kind = ? AND key = ?", (kind, key)
        ).fetchone()
        return row[0] if row else None

    def close(self) -> None:
        self._connection.close()
