"""`data`: show data quality, and release quarantined rows."""

from pathlib import Path
from typing import Any

from bot.commands.parameters import html_option, integer, map_option, option, switch
from bot.commands.tree import TERMINAL, Answer, Call, group, request
from retention.errors import BadInput
from retention.lake.importing import quarantine
from retention.text import gettext
from workers.job_requests import DataQuality, Pictures

REASON = option("--reason", gettext("Only the rows with this reason."), metavar="WORDS")


COMMAND = group("data", default="show")


def _write_html(call: Call, data: dict[str, Any], html: Path | None = None) -> None:
    from retention.reports.quality import Quality

    if html is not None:
        html.write_text(Quality(data).html(call.settings), encoding="utf-8")


@COMMAND.command(
    "show",
    request=DataQuality,
    after=_write_html,
    help=gettext(
        "How fresh, complete and usual the data is, what is in quarantine, and what "
        "limits the models now."
    ),
)
@html_option(gettext("Also write the report to this file, as a page."))
def show(call: Call, html: Path | None = None) -> DataQuality:
    """Queue the data quality report."""
    return request(DataQuality)


@COMMAND.command(
    "pictures",
    request=Pictures,
    help=gettext(
        "Look at the pictures of products, for lists with new items: which are new, and which "
        "cannot be used."
    ),
)
def look_at_pictures(call: Call) -> Pictures:
    """Queue a look at new pictures."""
    return request(Pictures)


@COMMAND.command(
    "quarantine",
    role="admin",
    surfaces=TERMINAL,
    help=gettext("The rows that could not be used, by reason, with what to do about it."),
)
@REASON
@option("--examples", gettext("So many rows of each reason."), integer(0, 1000), "N", default=3)
def list_quarantined(call: Call, reason: str | None, examples: int) -> Answer:
    """List quarantined rows by reason."""
    settings = call.settings
    listing = quarantine.listing(call.lake.duckdb, settings, reason=reason, examples=examples)
    return Answer("bot/quarantine", listing)


@COMMAND.command(
    "release",
    role="admin",
    surfaces=TERMINAL,
    help=gettext(
        "Try quarantined rows again with the map and the rules as they are now; those "
        "that pass are imported.\n\n"
        "Rows that still cannot be used stay where they are; a second time changes "
        "nothing."
    ),
)
@REASON
@switch("--all", gettext("All rows, whatever their reason."), into="everything")
@map_option(gettext("Read them with this map, not with their own as it is now."))
def release_quarantined(
    call: Call, reason: str | None, everything: bool, map_path: Path | None
) -> Answer:
    """Import quarantined rows with the present map and rules."""
    from retention.campaigns.measurement.redemption_and_bounce_files import LISTENER
    from retention.lake.importing.release import release

    if (reason is None) != everything:
        raise BadInput(gettext("Say which rows: --reason WORDS, or --all."))
    report = release(
        call.lake,
        call.database,
        call.settings,
        reason=reason,
        map_path=map_path,
        progress=call.progress,
        listener=LISTENER,
    )
    return Answer("bot/release", report.as_dict())
