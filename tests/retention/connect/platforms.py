"""Connected mail platforms for tests: a connector together with its stand-in."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from retention.connect import registry
from retention.connect.connections import Access
from retention.connect.contract import Profile
from tests.standins.profile_platforms import PLATFORMS


@contextmanager
def connected(kind: str, **changes: str) -> Iterator[tuple[Any, Any]]:
    """Yield a connector and its stand-in."""
    with PLATFORMS[kind].stand_in.start() as stand_in:
        values = PLATFORMS[kind].values(stand_in) | changes
        connector = registry.connector_class(kind)(Access(values))
        yield connector, stand_in
        connector.close()


def people(*numbers: int, **properties: Any) -> list[Profile]:
    """Return profiles with addresses, and the same properties."""
    return [Profile(f"k{n}", f"k{n}@example.com", properties=properties) for n in numbers]
