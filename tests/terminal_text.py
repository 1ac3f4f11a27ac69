"""Render a result as the terminal prints it."""

from typing import Any

from retention import templating
from retention.settings import Settings


def terminal_text(template: str, result: dict[str, Any], settings: Settings) -> str:
    """Render a template below ``templates/terminal``; a missing one raises TemplateNotFound."""
    path = f"terminal/{template}.txt.j2"
    return templating.text(path, zone=settings.timezone, result=result, **result).rstrip("\n")
