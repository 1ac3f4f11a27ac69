"""Find the folders of the home that all hosts share through the lake's object store."""

from typing import TYPE_CHECKING

from retention.settings import Settings

if TYPE_CHECKING:
    from retention.lake.storage.object_store import SharedFolder


def shared_folder(settings: Settings) -> "SharedFolder | None":
    """Return the store's side of the home; none if the lake is a local folder."""
    if not settings.lake_store:
        return None
    from retention.lake.storage.object_store import SharedFolder

    return SharedFolder(settings)
