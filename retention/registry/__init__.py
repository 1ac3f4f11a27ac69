"""Model versions: what each was trained on, how good it was, its artefact, and which one is in use."""

from retention.registry.store import (
    champion,
    find,
    load,
    previous,
    promote,
    roll_back,
    save,
    usable,
)

__all__ = ["champion", "find", "load", "previous", "promote", "roll_back", "save", "usable"]
