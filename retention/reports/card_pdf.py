"""Draw the model card as PDF with fpdf2.

The typeface is matplotlib's, which has every letter.
"""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fpdf import FPDF
from fpdf.enums import XPos, YPos
from fpdf.fonts import FontFace

from retention import templating
from retention.number_format import signed
from retention.reports.charts import Chart
from retention.text import gettext

INK, MUTED, ACCENT, LINE = (29, 28, 29), (105, 105, 105), (18, 100, 163), (224, 224, 224)
TIERS = {"high": (192, 57, 43), "medium": (224, 160, 48), "low": (61, 143, 111)}
BASELINES = {"recency": "Recency", "rfm_logistic": "RFM logistic", "bg_nbd": "BG/NBD"}
WIDTH = 174  # mm between the margins


def render_pdf(card: Mapping[str, Any], charts: Mapping[str, Chart], zone: str) -> bytes:
    """Return the card as PDF, A4.

    It has the same sections as the page.

    Parameters
    ----------
    card : mapping
        ``Card.data``.
    charts : mapping of str to Chart
        Charts by name.
    zone : str
        IANA time zone of the shop.
    """
    page = _Page(card["version"])
    _head(page, card)
    _purpose(page, card, zone)
    _data(page, card, zone)
    _quality(page, card, charts, zone)
    _fairness(page, card)
    _drivers(page, card, charts, zone)
    _limits_and_owner(page, card, zone)
    return bytes(page.output())


class _Page(FPDF):
    """An A4 page with a footer, tables and pictures."""

    def __init__(self, version: str) -> None:
        super().__init__(format="A4")
        self.version = version
        import matplotlib

        fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
        for style, name in (("", "DejaVuSans"), ("B", "DejaVuSans-Bold")):
            self.add_font("body", style, fonts / f"{name}.ttf")
        self.set_margins(18, 16)
        self.set_auto_page_break(auto=True, margin=18)
        self.set_title(f"Model card: {version}")
        self.set_lang("en")
        self.add_page()

    def footer(self) -> None:
        self.set_y(-12)
        self.write_line(
            f"Model card {self.version}   ·   page {self.page_no()} of {{nb}}",
            size=7.5,
            colour=MUTED,
        )

    def write_line(
        self,
        text: str,
        *,
        size: float = 9.5,
        bold: bool = False,
        colour: tuple[int, int, int] = INK,
        gap: float = 0,
    ) -> None:
        """Write a paragraph over the full width."""
        self.set_font("body", "B" if bold else "", size)
        self.set_text_color(*colour)
        self.multi_cell(0, size * 0.5, text, new_x=XPos.LMARGIN, new_y=YPos.NEXT, align="L")
        self.ln(gap)

    def section(self, name: str) -> None:
        """Write a heading.

        It is never the last line of a page.
        """
        if self.will_page_break(28):
            self.add_page()
        self.ln(3.5)
        self.set_draw_color(*LINE)
        self.line(self.l_margin, self.get_y(), self.l_margin + WIDTH, self.get_y())
        self.ln(2.5)
        self.write_line(name, size=12.5, bold=True, gap=1.2)

    def grid(
        self,
        rows: Sequence[Sequence[str]],
        widths: Sequence[float],
        *,
        head: bool = True,
        numbers: bool = True,
    ) -> None:
        """Draw a table.

        The first column is text. The others are numbers aligned right, or text.
        """
        self.set_font("body", "", 8.5)
        self.set_text_color(*INK)
        self.set_draw_color(*LINE)
        align = ("LEFT", *(("RIGHT" if numbers else "LEFT") for _ in widths[1:]))
        quiet = FontFace(emphasis="BOLD", color=MUTED)
        with self.table(
            col_widths=tuple(widths),
            text_align=align,
            borders_layout="HORIZONTAL_LINES",
            line_height=4.6,
            first_row_as_headings=head,
            headings_style=quiet,
            padding=(0.7, 1.5, 0.7, 0),
        ) as table:
            for row in rows:
                table.row([str(cell) for cell in row])
        self.ln(1.5)

    def picture(self, chart: Chart | None) -> None:
        """Draw a chart over the full width."""
        if chart:
            self.image(io.BytesIO(chart.png), w=WIDTH, alt_text=chart.alt_text)
            self.ln(1.5)


def _figure(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _day(at: str | None, zone: str) -> str:
    return templating.day(at, zone)


def _head(page: _Page, card: Mapping[str, Any]) -> None:
    page.write_line(gettext("MODEL CARD"), size=8.5, bold=True, colour=ACCENT)
    page.write_line(card["version"], size=18, bold=True, gap=0.5)
    state = gettext("In use") if card["state"] == "champion" else card["state"].capitalize()
    page.write_line(
        state,
        size=9.5,
        bold=True,
        colour=TIERS["low"] if card["state"] == "champion" else MUTED,
        gap=1.5,
    )
    page.write_line(
        gettext(
            "Says how likely each active customer is to order nothing within the next "
            "{horizon_days} days, and why, so that the team can choose whom to "
            "approach."
        ).format(horizon_days=card["horizon_days"]),
        size=10.5,
        gap=1.5,
    )
    by_name = {metric["name"]: metric["value"] for metric in card["metrics"]}
    headline = [
        (_figure(by_name.get("AUC")), gettext("tells who leaves (AUC)")),
        (f"{_figure(by_name.get('top-decile lift'), 1)}×", gettext("leavers in the top tenth")),
        (
            templating.percent(by_name.get("calibration error (ECE)"), 1),
            gettext("probabilities are off by"),
        ),
        (templating.percent(card["base_rate"], 1), gettext("left, of all judged")),
    ]
    if not by_name:
        return
    top, width = page.get_y(), WIDTH / len(headline)
    for place, (value, text) in enumerate(headline):
        page.set_xy(page.l_margin + place * width, top)
        page.set_font("body", "B", 15)
        page.set_text_color(*INK)
        page.cell(width, 7, value)
        page.set_xy(page.l_margin + place * width, top + 7)
        page.set_font("body", "", 7.5)
        page.set_text_color(*MUTED)
        page.cell(width, 4, text)
    page.set_xy(page.l_margin, top + 12)


def _purpose(page: _Page, card: Mapping[str, Any], zone: str) -> None:
    page.section(gettext("Purpose"))
    page.write_line(
        gettext(
            "For choosing and ordering customers for retention campaigns, which a "
            "person approves and a hold-out measures. Not for anything that is decided "
            "about a person elsewhere: credit, prices, service, or contracts."
        )
    )
    page.section(gettext("Definition of churn"))
    within = card["active_within_days"]
    text = gettext(
        "A customer churned if they placed no order in the {horizon_days} days "
        "after the moment of scoring. Scored are customers who ordered {period} "
        "before it."
    ).format(
        horizon_days=card["horizon_days"],
        period=gettext("ever")
        if within is None
        else gettext("in the {days} days").format(days=within),
    )
    if card["base_rate"] is not None:
        text += gettext(
            " Of the {customers} judged as of {judged_at}, {base_rate} churned: saying "
            "“everyone stays” would be right {stayed} of the time, which is why "
            "accuracy is no measure here."
        ).format(
            customers=templating.count(card["customers"], "customer"),
            judged_at=_day(card["judged_at"], zone),
            base_rate=templating.percent(card["base_rate"], 1),
            stayed=templating.percent(1 - card["base_rate"], 1),
        )
    page.write_line(text)


def _data(page: _Page, card: Mapping[str, Any], zone: str) -> None:
    data = card["data"]
    quarantined = "; ".join(
        f"{templating.count(rows, 'row')}: {why}" for why, rows in data["quarantine_text"].items()
    )
    page.section(gettext("Data"))
    page.grid(
        [
            (
                gettext("Learned from"),
                gettext("{first} to {cutoff}, nothing after").format(
                    first=_day(data["first"], zone), cutoff=_day(card["cutoff"], zone)
                ),
            ),
            (
                gettext("Events, customers"),
                gettext("{events} of {customers}").format(
                    events=templating.count(data["events"], "event"),
                    customers=templating.count(data["customers"], "customer"),
                ),
            ),
            (
                gettext("Rows learned from"),
                f"{templating.count(card['train_rows'], 'customer snapshot')}, "
                f"{templating.count(card['features'], 'feature')}",
            ),
            (gettext("In quarantine"), quarantined or gettext("nothing")),
            (
                "Fingerprint",
                gettext("{fingerprint} ({state} since)").format(
                    fingerprint=card["fingerprint"],
                    state=gettext("unchanged")
                    if data["unchanged"]
                    else gettext("the data has changed"),
                ),
            ),
            (
                gettext("Estimator"),
                gettext("{estimator}, seed {seed}, code {code_version}").format(
                    estimator=card["estimator"],
                    seed=card["seed"],
                    code_version=card["code_version"],
                ),
            ),
            (gettext("Artefact (SHA-256)"), card["sha256"]),
        ],
        (40, WIDTH - 40),
        head=False,
        numbers=False,
    )


def _quality(page: _Page, card: Mapping[str, Any], charts: Mapping[str, Chart], zone: str) -> None:
    page.section(gettext("How good it is"))
    if not card["metrics"]:
        page.write_line(
            gettext("It has not been judged: there was too little history before its cutoff.")
        )
    else:
        several = card["origins"] > 1
        page.write_line(
            gettext(
                "Judged as of {judged_at} on {customers} whose outcome the judged fit had "
                "not seen, beside what anybody could do without it"
            ).format(
                judged_at=_day(card["judged_at"], zone),
                customers=templating.count(card["customers"], "customer"),
            )
            + (
                gettext("; mean ± sd over {origins} such moments.").format(origins=card["origins"])
                if several
                else "."
            ),
            gap=1,
        )
        names = list(card["metrics"][0]["baselines"])
        head = [
            "",
            gettext("This model"),
            *([gettext("Mean ± sd")] if several else []),
            *(BASELINES.get(name, name) for name in names),
        ]
        rows = [
            [
                row["name"],
                _figure(row["value"]),
                *([f"{_figure(row['mean'])} ± {_figure(row['sd'])}"] if several else []),
                *(_figure(row["baselines"][name]) for name in names),
            ]
            for row in card["metrics"]
        ]
        page.grid([head, *rows], (40, *[(WIDTH - 40) / (len(head) - 1)] * (len(head) - 1)))
        if difference := card["difference"]:
            page.write_line(
                gettext(
                    "Log-loss against the model before it: {mean}, 95% interval "
                    "{low} to {high} (bootstrapped by customer; below 0 is better)."
                ).format(**{name: signed(difference[name], 4) for name in ("mean", "low", "high")}),
                gap=1,
            )
        page.picture(charts.get("against"))
        if card["checks"]:
            page.grid(
                [
                    (gettext("Check"), gettext("Found")),
                    *(
                        (
                            f"{'✓' if row['passed'] else '✗'} {row['name'].replace('_', ' ')}",
                            row["text"],
                        )
                        for row in card["checks"]
                    ),
                ],
                (46, WIDTH - 46),
                numbers=False,
            )
    page.section(gettext("Calibration"))
    how = card["calibration"] or "none"
    page.write_line(
        gettext("{calibration}. Of customers given 30%, 30 in 100 should leave.").format(
            calibration=how[:1].upper() + how[1:]
        ),
        gap=1,
    )
    page.picture(charts.get("calibration"))


def _fairness(page: _Page, card: Mapping[str, Any]) -> None:
    page.section(gettext("Fairness"))
    if not card["segments"]:
        page.write_line(
            gettext(
                "Not measured for this version; the next retraining measures it by orders, "
                "spend, channel and the attributes of customers."
            )
        )
        return
    page.write_line(
        gettext(
            "Within each group, what was expected and what happened, on the judged "
            "customers. Marked (!) are groups that are off by more than 5 points, or by"
            " more than half of what was expected, and by more than chance."
        ),
        gap=1,
    )
    rows = [
        (
            f"{segment['segment'].replace('_', ' ')}: {segment['value']}",
            f"{segment['customers']:,}",
            templating.percent(segment["expected"], 1),
            templating.percent(segment["observed"], 1) + (" !" if segment["off"] else ""),
            _figure(segment["auc"]),
        )
        for segment in card["segments"]
    ]
    page.grid(
        [
            (gettext("Group"), gettext("Customers"), gettext("Expected"), gettext("Left"), "AUC"),
            *rows,
        ],
        (74, 25, 25, 25, 25),
    )


def _drivers(page: _Page, card: Mapping[str, Any], charts: Mapping[str, Chart], zone: str) -> None:
    page.section(gettext("What moves the scores"))
    now = card["now"]
    if not now:
        page.write_line(gettext("The model could not be asked."))
        return
    page.picture(charts.get("drivers"))
    error = (
        gettext(" (mean standard error {error:.3f})").format(error=now["error"])
        if now["error"] > 0
        else ""
    )
    page.write_line(
        gettext(
            "Of {sample} drawn from {customers:,} active as of {cutoff}. How: "
            "{methods}{error}; base and weights add up to the model's log-odds. A "
            "second opinion (LIME, {asked_twice}) shares {agreement:.1f} of the 3 "
            "heaviest reasons on average; its own fidelity is {fidelity}."
        ).format(
            sample=templating.count(now["sample"], "customer"),
            customers=now["customers"],
            cutoff=_day(card["cutoff"], zone),
            methods=", ".join(now["methods"]),
            error=error,
            asked_twice=templating.count(now["asked_twice"], "customer"),
            agreement=3 * now["agreement"],
            fidelity=templating.percent(now["fidelity"]),
        )
    )
    page.section(gettext("Examples"))
    for example in card["examples"]:
        if page.will_page_break(24):
            page.add_page()
        page.write_line(
            gettext("{customer}: {probability} risk, {tier}").format(
                customer=example["customer"],
                probability=templating.percent(example["churn_probability"]),
                tier=example["tier"],
            ),
            bold=True,
            colour=TIERS[example["tier"]],
        )
        for reason in example["reasons"]:
            page.write_line(
                f"•  {templating.effect(reason)}: {reason['text']} ({signed(reason['weight'], 2)})",
                size=9,
            )
        if example["counterfactuals"]:
            counterfactuals = "; ".join(example["counterfactuals"])
            page.write_line(
                gettext("What would have made the difference: {counterfactuals}.").format(
                    counterfactuals=counterfactuals
                ),
                size=8.5,
                colour=MUTED,
            )
        page.ln(1.8)


def _limits_and_owner(page: _Page, card: Mapping[str, Any], zone: str) -> None:
    page.section(gettext("Limits"))
    for limit in card["limits"]:
        page.write_line(f"•  {limit}", gap=0.8)
    page.section(gettext("What colleagues say"))
    feedback = card["feedback"]
    if feedback["useful"] or feedback["wrong"]:
        page.write_line(
            gettext("{useful:,} found a score useful, {wrong:,} wrong.").format(
                useful=feedback["useful"], wrong=feedback["wrong"]
            )
        )
    else:
        page.write_line(gettext("Nobody has said yet whether its scores are useful or wrong."))
    for entry in feedback["reasons"]:
        page.write_line(f"•  “{entry['text']}” ({_day(entry['at'], zone)})", size=9)
    page.section(gettext("Who answers for it"))
    rows = [
        (_day(entry["at"], zone), entry["action"], entry["actor"], entry["why"])
        for entry in card["history"]
    ]
    rows = rows or [(_day(card["created_at"], zone), gettext("trained"), card["created_by"], "")]
    if card["promoted_at"] and not any(
        entry["action"] == "put into use" for entry in card["history"]
    ):
        rows.append(
            (
                _day(card["promoted_at"], zone),
                gettext("in use since"),
                card["promoted_by"] or "",
                "",
            )
        )
    page.grid(
        [(gettext("When"), gettext("What"), gettext("Who"), gettext("Why")), *rows],
        (28, 28, 30, WIDTH - 86),
        numbers=False,
    )
    page.write_line(
        gettext(
            "Made {made_at}. Figures come from the registry; examples are real "
            "customers under pseudonyms, and nobody is named."
        ).format(made_at=templating.moment(card["made_at"], zone)),
        size=8,
        colour=MUTED,
    )
