"""Keep results that follow from the lake's data, until the data changes."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from retention.lake.schema import LINKS, TABLES
from retention.lake.storage import delta_store

if TYPE_CHECKING:
    from retention.lake.lake import Lake

T = TypeVar("T")


def data_state(lake: "Lake", *, all_tables: bool = False) -> tuple[Any, ...]:
    """Return the lake's path and the newest commits of events and links, or of all tables."""
    tables = TABLES.values() if all_tables else (TABLES["events"],)
    return str(lake.root), *(
        delta_store.newest_commit(lake.root, table) for table in (*tables, LINKS)
    )


class DataCache(Generic[T]):
    """The last few results of one computation. Results are shared: callers must not change them."""

    def __init__(
        self,
        limit: int,
        *,
        is_small: Callable[[T], bool] = lambda _: True,
        all_tables: bool = False,
    ) -> None:
        self._limit, self._is_small, self._all_tables = limit, is_small, all_tables
        self._results: OrderedDict[Hashable, T] = OrderedDict()

    def get(self, lake: "Lake", key: Hashable, compute: Callable[[], T]) -> T:
        """Return the result for a key, computed if the data is another."""
        # Read first: if the data changes meanwhile, the result belongs to the older state.
        state = (data_state(lake, all_tables=self._all_tables), lake.zone, key)
        known = self._results.get(state)
        if known is not None:
            return known
        result = compute()
        if self._is_small(result):
            self._results[state] = result
            while len(self._results) > self._limit:
                self._results.popitem(last=False)
        return result
