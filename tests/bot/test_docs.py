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
    shortcuts = manifest()["features"]["shortcuts"]
    assert all(len(one["name"]) <= 24 and len(one["description"]) <= 150 for one in shortcuts)
    assert len({one["callback_id"] for one in shortcuts}) == len(shortcuts)
    assert len(manifest()["display_information"]["description"]) <= 140
    assert "sweep" in usage_hint()
    assert "import" not in usage_hint()


def test_manifest_lets_people_write_to_the_bot():
    features, settings = manifest()["features"], manifest()["settings"]
    assert features["app_home"]["messages_tab_read_only_enabled"] is False
    assert {"app_mention", "message.im"} <= set(settings["event_subscriptions"]["bot_events"])
    scopes = manifest()["oauth_config"]["scopes"]["bot"]
    assert {"app_mentions:read", "im:history"} <= set(scopes)
