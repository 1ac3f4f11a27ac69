"""Look at pictures of products, so that lists can hold new items that look like bought ones."""

from functools import partial
from pathlib import Path

from retention.connect.sources import picture_download
from retention.lake import Lake
from retention.pictures import embedding, extra, store
from workers.job_requests import Pictures
from workers.tasks.interface import Context, Outcome, Post

SHOWN = 10  # pictures that cannot be used; the JSON has all


def run(request: Pictures, context: Context) -> Outcome:
    """Read, embed and store what is new."""
    settings = context.settings
    lake = Lake.open(settings)
    if settings.product_pictures == extra.CATALOGUE:
        addresses = store.catalogue_addresses(lake)
        read = partial(picture_download.fetch, settings)
    else:
        folder = Path(settings.product_pictures).expanduser()
        addresses, read = store.folder_addresses(folder), partial(store.read_file, folder)
    report = store.update(lake, addresses, read, embedding.embed, context.progress)
    data = {
        "items": report.items,
        "read": report.read,
        "waiting": report.waiting,
        "skipped": [
            {"item_id": item, "address": address.partition("?")[0], "problem": problem}
            for item, address, problem in report.skipped
        ],
        "is_catalogue": settings.product_pictures == extra.CATALOGUE,
    }
    return Outcome(data, (Post("data/pictures", {**data, "shown": SHOWN}),))
