"""Print the model card's page as PDF with fpdf2.

The page (templates/reports/model_card.html.j2) is the only source of the card's text. The typeface
is matplotlib's, which has every letter.
"""

import base64
import io
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

from fpdf import FPDF
from fpdf.enums import XPos, YPos
from fpdf.fonts import FontFace

from retention.text import gettext

Colour = tuple[int, int, int]
INK, MUTED, ACCENT, LINE = (29, 28, 29), (105, 105, 105), (18, 100, 163), (224, 224, 224)
WIDTH = 174  # mm between the margins
_BLOCKS = frozenset({"h1", "h2", "p", "li", "footer", "div", "ul", "main"})


@dataclass(frozen=True, slots=True)
class _Style:
    size: float = 9.5
    is_bold: bool = False
    colour: Colour = INK
    gap: float = 0.8  # mm below
    begins: str = ""


_TITLE, _SECTION = _Style(18, True, gap=1), _Style(12.5, True, gap=1.2)
_BY_CLASS = {
    "over": _Style(8.5, True, ACCENT),
    "lead": _Style(10.5, gap=1.5),
    "quiet": _Style(8.5, colour=MUTED, gap=1.8),
    "figure": _Style(9.5, gap=0.4),
    "example": _Style(9.5, True),
}
_BY_TAG = {
    "h1": _TITLE,
    "h2": _SECTION,
    "li": _Style(9, begins="•  "),
    "footer": _Style(8, colour=MUTED),
}


@dataclass(slots=True)
class _Cell:
    text: str
    is_head: bool
    is_number: bool


@dataclass(slots=True)
class _Table:
    rows: list[list[_Cell]] = field(default_factory=list)


def print_page(page: str, title: str) -> bytes:
    """Return a page of the model card as PDF, A4.

    It prints headings, paragraphs, lists, tables and pictures. It does not use the style sheet.

    Parameters
    ----------
    page : str
        HTML with pictures as data URLs.
    title : str
        The title of the document, also in its footer.
    """
    paper = _Paper(title)
    printer = _Printer(paper)
    printer.feed(page[page.index("<main>") :])
    printer.close()
    return bytes(paper.output())


class _Printer(HTMLParser):
    """Draws each element when its end, or the begin of the next one, is read."""

    def __init__(self, paper: "_Paper") -> None:
        super().__init__()
        self.paper = paper
        self.words: list[str] = []
        self.style = _Style()
        self.table: _Table | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        classes = attributes.get("class", "").split()
        if tag in _BLOCKS:
            self._end_block()
            named = [_BY_CLASS[name] for name in classes if name in _BY_CLASS]
            self.style = named[0] if named else _BY_TAG.get(tag, _Style())
        elif tag == "table":
            self._end_block()
            self.table = _Table()
        elif tag == "tr" and self.table:
            self.table.rows.append([])
        elif tag in {"td", "th"} and self.table:
            self.table.rows[-1].append(_Cell("", tag == "th", "n" in classes))
        elif tag == "img":
            self._end_block()
            self.paper.picture(attributes["src"], attributes["alt"])

    def handle_endtag(self, tag: str) -> None:
        if tag == "small":  # the name of a figure precedes it
            self.words.append(": ")
        elif tag == "table" and self.table:
            self.paper.grid(self.table)
            self.table = None
        elif tag in _BLOCKS:
            self._end_block()

    def handle_data(self, data: str) -> None:
        if self.table is None:
            self.words.append(data)
        elif self.table.rows and self.table.rows[-1]:
            self.table.rows[-1][-1].text += data

    def _end_block(self) -> None:
        text = " ".join("".join(self.words).split())
        self.words.clear()
        if text:
            self.paper.write_text(text, self.style)
        self.style = _Style()


class _Paper(FPDF):
    """A4 with a footer."""

    def __init__(self, title: str) -> None:
        super().__init__(format="A4")
        self.heading = title
        import matplotlib

        fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
        for style, name in (("", "DejaVuSans"), ("B", "DejaVuSans-Bold")):
            self.add_font("body", style, fonts / f"{name}.ttf")
        self.set_margins(18, 16)
        self.set_auto_page_break(auto=True, margin=18)
        self.set_title(title)
        self.set_lang("en")
        self.add_page()

    def footer(self) -> None:
        self.set_y(-12)
        self.set_font("body", "", 7.5)
        self.set_text_color(*MUTED)
        text = gettext("{title}   ·   page {page} of {pages}")
        self.cell(0, 4, text.format(title=self.heading, page=self.page_no(), pages="{nb}"))

    def write_text(self, text: str, style: _Style) -> None:
        if style is _SECTION:
            self._begin_section()
        self.set_font("body", "B" if style.is_bold else "", style.size)
        self.set_text_color(*style.colour)
        height = style.size * 0.5
        self.multi_cell(
            WIDTH, height, style.begins + text, align="LEFT", new_x=XPos.LMARGIN, new_y=YPos.NEXT
        )
        self.ln(style.gap)

    def _begin_section(self) -> None:
        """Draw a line, on a new page if no more than a heading fits on this one."""
        if self.will_page_break(28):
            self.add_page()
        self.ln(3)
        self.set_draw_color(*LINE)
        self.line(self.l_margin, self.get_y(), self.l_margin + WIDTH, self.get_y())
        self.ln(2.5)

    def grid(self, table: _Table) -> None:
        """Draw a table whose columns are as wide as their longest text asks for."""
        self.set_font("body", "", 8.5)
        self.set_text_color(*INK)
        self.set_draw_color(*LINE)
        first, *_ = table.rows
        texts = [[" ".join(cell.text.split()) for cell in row] for row in table.rows]
        wanted = [
            min(max(self.get_string_width(row[place]) for row in texts), WIDTH * 0.6) + 4
            for place in range(len(first))
        ]
        scale = WIDTH / sum(wanted)
        with self.table(
            col_widths=tuple(width * scale for width in wanted),
            text_align=tuple("RIGHT" if cell.is_number else "LEFT" for cell in first),
            borders_layout="HORIZONTAL_LINES",
            line_height=4.6,
            first_row_as_headings=all(cell.is_head for cell in first),
            headings_style=FontFace(emphasis="BOLD", color=MUTED),
            padding=(0.7, 1.5, 0.7, 0),
        ) as grid:
            for row in texts:
                grid.row(row)
        self.ln(1.5)

    def picture(self, url: str, words: str) -> None:
        """Draw a picture over the full width."""
        data = base64.b64decode(url.partition("base64,")[2])
        self.image(io.BytesIO(data), w=WIDTH, alt_text=words)
        self.ln(1.5)
