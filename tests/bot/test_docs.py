"""Test that the generated documentation matches the command tree."""

import pytest

from tests.make_docs import FILES, ROOT, manifest, usage_hint


@pytest.mark.parametrize("name", FILES)
def test_generated_files_are_up_to_date(name):
    written = (ROOT / name).read_text(encoding="utf-8")
    assert written == FILES[name]().rstrip("\n") + "\n", "run: make docs"


def test_manifest_respects_slacks_limits():
    (command,) = manifest()["features"]["slash_commands"]
    assert command["command"] == "/retention"
    assert len(command["description"]) <= 2000
    assert len(command["usage_hint"]) <= 1000
    assert command["should_escape"]
    assert len(manifest()["display_information"]["name"]) <= 35
    assert len(manifest()["display_information"]["description"]) <= 140
    assert "sweep" in usage_hint()
    assert "import" not in usage_hint()
