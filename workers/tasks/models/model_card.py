"""Post a model card as a page."""

from retention.lake import Lake
from retention.reports.card import card
from workers.requests import ModelCard
from workers.tasks.interface import Attachment, Context, Outcome, Post


def run(request: ModelCard, context: Context) -> Outcome:
    """Make the card of a version or the champion."""
    settings, lake = context.settings, Lake.open(context.settings)
    made = card(lake, context.database, version=request.version, progress=context.progress)
    version, message = made.data["version"], f"job:{context.job_id}"
    page = Attachment(f"{version}.html", "text/html", made.html(settings).encode())
    key = f"{message}:{page.mime}"
    posts = (
        Post("models/card", {"card": made.data}),
        Post("models/card_file", {"version": version}, key=key, thread_key=message, file=page),
    )
    return Outcome({"card": made.data}, posts)
