"""Import files at the time of a schedule."""

from pathlib import Path

from workers.imports import import_table
from workers.requests import ImportFiles
from workers.tasks.interface import Context, Outcome, Post


def run(request: ImportFiles, context: Context) -> Outcome:
    """Import the files as they are now.

    Parameters
    ----------
    request : ImportFiles
        The validated request.
    context : Context
        The running attempt.

    Returns
    -------
    Outcome
        Counts of rows.
    """
    from retention.lake import Lake

    report = import_table(
        Lake.open(context.settings),
        context.database,
        context.settings,
        request.table,
        list(request.files),
        Path(request.map_path) if request.map_path else None,
        source=request.source,
        query=request.query,
        format_name=request.format_name,
        progress=context.progress,
    )
    data = report.as_dict()
    return Outcome(data, (Post("schedule/imported", {"report": data}),))
