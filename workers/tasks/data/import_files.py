"""Import files at the time of a schedule."""

from retention.lake import Lake
from workers.data.imports import import_table
from workers.requests import ImportFiles
from workers.tasks.interface import Context, Outcome, Post


def run(request: ImportFiles, context: Context) -> Outcome:
    """Import the files as they are now."""
    lake = Lake.open(context.settings)
    report = import_table(lake, context.database, request, progress=context.progress)
    data = report.as_dict()
    return Outcome(data, (Post("schedule/imported", {"report": data}),))
