"""Test that the page knows every emoji shortcode of our templates."""

import re
from pathlib import Path

from templates import FOLDER

PAGE = Path("bot/playground/page/emoji.js")


def test_every_emoji_shortcode_of_templates_is_known():
    known = set(re.findall(r"[|`\n]([a-z0-9_+-]+) [^\s|]+", PAGE.read_text(encoding="utf-8")))
    used = {
        name
        for file in Path(FOLDER, "slack").rglob("*.j2")
        for name in re.findall(r":([a-z][a-z0-9_]{2,}):", file.read_text(encoding="utf-8"))
    }
    assert "white_check_mark" in used & known
    assert used <= known
