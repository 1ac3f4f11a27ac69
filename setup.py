"""Give the wheel a README whose links also work outside the repository."""

import re
from pathlib import Path

from setuptools import setup

REPOSITORY = "https://github.com/retention-desk/retention-desk"
_LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?://|#)([^)\s]+)\)")


def with_absolute_links(text: str) -> str:
    """Return Markdown whose relative links lead to the repository."""

    def absolute(match: re.Match[str]) -> str:
        view = "raw" if match[1] else "blob"
        return f"{match[1]}[{match[2]}]({REPOSITORY}/{view}/main/{match[3]})"

    return _LINK.sub(absolute, text)


setup(
    long_description=with_absolute_links(Path("README.md").read_text(encoding="utf-8")),
    long_description_content_type="text/markdown",
)
