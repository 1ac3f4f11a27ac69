"""Settings as environment variables, so that every child process has exactly its parent's."""

import os
from typing import Any

from pydantic import SecretStr

from retention.settings import Settings
from workers import broker


def environment(settings: Settings) -> dict[str, str]:
    """The environment of a child: ours, with these settings on top and the broker's address resolved."""
    told = {"RETENTION_BROKER_URL": broker.url(settings)}
    for field in type(settings).model_fields:
        name = field.upper() if field.startswith("slack_") else f"RETENTION_{field.upper()}"
        if name not in told and (text := _text(getattr(settings, field))):
            told[name] = text
    kept = {name: value for name, value in os.environ.items() if name.removesuffix("_FILE") not in told}
    return {**kept, **told}


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, bool):
        return "true" if value else ""
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
