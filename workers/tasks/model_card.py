"""Post a model card as files."""

from retention.text import gettext
from workers.requests import ModelCard
from workers.tasks.interface import Attachment, Context, Outcome, Post


def run(request: ModelCard, context: Context) -> Outcome:
    """Make the card of a version or the champion.

    Parameters
    ----------
    request : ModelCard
        The validated request.
    context : Context
        The running attempt.

    Returns
    -------
    Outcome
        A message, with both files in its thread.
    """
    from retention.lake import Lake
    from retention.reports.card import card, printable_card

    settings, lake = context.settings, Lake.open(context.settings)
    page = card(
        lake,
        context.database,
        settings,
        version=request.version,
        progress=context.progress,
    )
    printed = printable_card(page, lake, context.database, settings).pdf(settings)
    version, message = page.data["version"], f"job:{context.job_id}"
    files = (
        (
            gettext("as a page"),
            Attachment(f"{version}.html", "text/html", page.html(settings).encode()),
        ),
        (gettext("on paper"), Attachment(f"{version}.pdf", "application/pdf", printed)),
    )
    posts = [Post("models/card", {"card": page.data})]
    posts += [
        Post(
            "models/card_file",
            {"version": version, "form": form},
            key=f"{message}:{file.mime}",
            thread_key=message,
            file=file,
        )
        for form, file in files
    ]
    return Outcome({"card": page.data}, tuple(posts))
