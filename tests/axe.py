"""Deque's axe-core, which checks a page for barriers."""

import importlib.util
import os
from functools import cache
from pathlib import Path
from typing import Any

import pytest


@cache
def _script() -> str:
    found = importlib.util.find_spec("axe_playwright_python")
    if found is None or found.origin is None:
        reason = "axe-playwright-python is missing; make setup installs it"
        pytest.fail(reason) if os.environ.get("RETENTION_REQUIRE_BROWSER") else pytest.skip(reason)
    return Path(found.origin).with_name("axe.min.js").read_text(encoding="utf-8")


def barriers(shown: Any) -> list[str]:
    """Return the serious and critical findings on a page, in the light and the dark scheme."""
    script = _script()
    findings = []
    for scheme in ("light", "dark"):
        shown.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        shown.evaluate(script)
        for finding in shown.evaluate("axe.run()")["violations"]:
            if finding["impact"] in ("serious", "critical"):
                places = [node["html"][:120] for node in finding["nodes"][:3]]
                findings.append(f"{scheme}: {finding['id']}: {finding['help']}: {places}")
    return findings
