"""Find slow work while a write transaction is open: others wait for SQLite's lock meanwhile.

Slow is to draw a picture and to read the lake. The wrappers are set once for the process.
"""

import threading
import traceback
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, wraps
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, event

ROOT = Path(__file__).parents[1]
_own = threading.local()
_found: list[str] = []


@contextmanager
def checked() -> Iterator[None]:
    """Fail at the end of the block if there was slow work in a write transaction."""
    _watch()
    _found.clear()
    yield
    assert not _found, "Do this before the transaction:\n" + "\n".join(_found)


@cache
def _watch() -> None:
    from ibis.backends.duckdb import Backend
    from matplotlib.figure import Figure
    from PIL.Image import Image

    from retention.lake.lake import Lake
    from retention.lake.storage.delta_store import TableCache

    event.listen(Engine, "begin", _begin)
    for owner, name in (
        (Figure, "savefig"),
        (Image, "save"),
        (TableCache, "get"),
        (Backend, "raw_sql"),
        (Backend, "_to_duckdb_relation"),
    ):
        setattr(owner, name, _outside(getattr(owner, name)))
    Lake.duckdb = property(_outside(Lake.duckdb.fget))


def _begin(connection: Connection) -> None:
    if not connection.get_execution_options().get("readonly"):
        _own.writer = weakref.ref(connection)


def _outside(slow: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(slow)
    def call(*arguments: Any, **options: Any) -> Any:
        writer = getattr(_own, "writer", lambda: None)()
        if writer is not None and writer.in_transaction():
            stack = [
                f"{file.relative_to(ROOT)}:{frame.lineno}"
                for frame in traceback.extract_stack()[:-1]
                if (file := Path(frame.filename)).is_relative_to(ROOT)
                and "site-packages" not in file.parts
            ]
            _found.append(f"{slow.__qualname__} in {' > '.join(stack)}")
        return slow(*arguments, **options)

    return call
