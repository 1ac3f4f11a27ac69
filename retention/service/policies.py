"""Read the shop's policies: Markdown files of a folder, split at their headings."""

import re
from dataclasses import dataclass
from pathlib import Path

from retention.errors import BadInput
from retention.text import gettext

MAX_BYTES = 200_000  # of a file; a longer one is no policy
MAX_QUOTE = 600  # characters of a section that an answer quotes
_NAME = re.compile(r"(?P<stem>.+?)(?:\.(?P<language>[a-z]{2}))?\.md", re.IGNORECASE)
_HEADING = re.compile(r"(#{1,6})\s+(.+?)\s*#*\s*")
_URL = re.compile(r"(?:url|link):\s*(https?://\S+)", re.IGNORECASE)
_MARKS = re.compile(r"(\*\*|__|`)")
_LINK = re.compile(r"\[([^\]]+)\]\([^)]*\)")


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a policy. ``file``: its name without ``.md``; ``subject``: without the language."""

    file: str
    subject: str
    heading: str
    title: str  # of the policy and of the part
    text: str
    language: str
    url: str  # may be empty

    @property
    def ref(self) -> str:
        """What identifies the part."""
        return f"policy:{self.file}#{self.heading}"

    @property
    def quote(self) -> str:
        """The text, cut at the end of a sentence."""
        if len(self.text) <= MAX_QUOTE:
            return self.text
        cut = self.text[:MAX_QUOTE]
        end = max(cut.rfind(sign) for sign in (". ", "。", "\n"))
        return f"{cut[: end + 1] if end > MAX_QUOTE // 3 else cut} …"


def read_folder(folder: Path | None) -> tuple[Section, ...]:
    """Return the sections of all policies of a folder, in the order of the files.

    Raises `BadInput`: the folder or one of its files cannot be read.
    """
    if folder is None:
        return ()
    if not folder.is_dir():
        text = gettext("RETENTION_SERVICE_POLICIES is {folder!r}, which is no folder; name one")
        raise BadInput(text.format(folder=str(folder)))
    sections: list[Section] = []
    for path in sorted(folder.glob("*.md")):
        match = _NAME.fullmatch(path.name)
        if path.stem.lower() == "readme" or match is None:
            continue
        try:
            content = path.read_bytes()[:MAX_BYTES].decode("utf-8")
        except (OSError, UnicodeDecodeError):
            sentence = gettext("The policy {file} cannot be read; save it as UTF-8 text")
            raise BadInput(sentence.format(file=path.name)) from None
        language = (match["language"] or "en").lower()
        sections += split(content, path.stem, match["stem"], language)
    return tuple(sections)


def split(content: str, file: str, subject: str, language: str) -> list[Section]:
    """Split a policy at its headings; a title without text is a part of those below it.

    A line ``url: https://…`` before the first text is the policy's address.
    """
    url, top, title = "", "", ""
    sections: list[Section] = []
    lines: list[str] = []

    def end() -> None:
        text = "\n".join(lines).strip()
        lines.clear()
        if text:
            heading = title or top or file
            name = f"{top} – {title}" if top and title else heading
            sections.append(Section(file, subject, heading, name, plain(text), language, url))

    for line in content.splitlines():
        address = _URL.fullmatch(line.strip("<!->* "))
        mark = _HEADING.fullmatch(line)
        if address and not sections and not url:
            url = address[1]
        elif mark:
            end()
            is_top = len(mark[1]) == 1
            top = mark[2] if is_top else top
            title = "" if is_top else mark[2]
        elif line.strip() != "---":
            lines.append(line)
    end()
    return sections


def plain(text: str) -> str:
    """Return Markdown without its marks; the words stay as they are."""
    return _MARKS.sub("", _LINK.sub(r"\1", text))
