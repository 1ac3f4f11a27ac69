"""Registry of model versions.

It stores training data, metrics, artefacts and the version in use.
"""

from retention.registry.store import (
    champion,
    check_usable,
    find,
    load,
    previous,
    promote,
    roll_back,
    save,
)

__all__ = ["champion", "check_usable", "find", "load", "previous", "promote", "roll_back", "save"]
