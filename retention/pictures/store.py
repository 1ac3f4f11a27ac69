"""Keep a vector for each item with a picture, in the lake's table ``pictures``."""

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from retention.lake.schema import ITEM_PICTURES, TABLES
from retention.pictures.decoding import MAX_BYTES, PictureProblem, decode
from retention.progress import Progress, silent
from retention.text import gettext

if TYPE_CHECKING:
    from retention.lake import Lake

FEATURES, COLOURS = 1280, 64  # numbers of a vector
SIZE = FEATURES + COLOURS
BATCH = 128  # pictures; they are stored after each
MAX_NEW = 2_000  # pictures in one run; a worker must not be busy for hours
MAX_FAILURES = 10  # unreachable ones in a row; each may take a minute
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


@dataclass(frozen=True, slots=True)
class Report:
    """What a run did.

    `skipped`: item, address and problem of each picture that cannot be used.
    `waiting`: pictures that the next run reads.
    """

    items: int
    read: int
    waiting: int
    skipped: tuple[tuple[str, str, str], ...]


def catalogue_addresses(lake: "Lake") -> dict[str, str]:
    """Return item → address of its picture, as the attributes of the items say."""
    items = lake.table("items")
    attributes = items.attributes.try_cast("json")
    first, *others = [attributes[name].str.nullif("") for name in ITEM_PICTURES]
    rows = items.select("item_id", address=first.coalesce(*others))
    frame = rows.filter(rows.address.notnull()).order_by("item_id").execute()
    return dict(zip(frame["item_id"], frame["address"].str.strip(), strict=True))


def folder_addresses(folder: Path) -> dict[str, str]:
    """Return item → file and time of its last change; the file is named after the item."""
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    return {path.stem: f"{path.name}?{path.stat().st_mtime_ns}" for path in files if path.is_file()}


def read_file(folder: Path, address: str) -> bytes:
    """Read a picture of `folder_addresses`.

    Raises `PictureProblem`.
    """
    try:
        with (folder / address.rpartition("?")[0]).open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError:
        raise PictureProblem("missing") from None


def update(
    lake: "Lake",
    addresses: Mapping[str, str],
    read: Callable[[str], bytes],
    embed: Callable[[Sequence[np.ndarray]], np.ndarray],
    progress: Progress = silent,
) -> Report:
    """Read pictures with a new address, then those that could not be used before.

    A picture is embedded once, also if several items have it or its address changes. Several
    unreachable ones in a row end the run: the shop's server may be down.
    """
    known = lake.table("pictures").execute()
    lake.remove("pictures", known.loc[~known["item_id"].isin(list(addresses)), ["item_id"]])
    is_usable = known["vector"].notna()
    done = {*known.loc[is_usable, ["item_id", "address"]].itertuples(index=False, name=None)}
    vectors = dict(zip(known.loc[is_usable, "digest"], known.loc[is_usable, "vector"], strict=True))
    items_of: dict[str, list[str]] = {}
    for item, address in addresses.items():
        if (item, address) not in done:
            items_of.setdefault(address, []).append(item)
    failed = {*known.loc[~is_usable, "address"]}
    wanted = sorted(items_of, key=failed.__contains__)
    planned, skipped, count, failures = wanted[:MAX_NEW], [], 0, 0
    for start in range(0, len(planned), BATCH):
        progress(start, len(planned), gettext("Looking at pictures"))
        found = {}
        for address in planned[start : start + BATCH]:
            found[address] = _look(address, read)
            failures = failures + 1 if found[address][2] == "unreachable" else 0
            if failures == MAX_FAILURES:
                break
        pictures = {digest: picture for digest, picture, _ in found.values() if picture is not None}
        new = {digest: pictures[digest] for digest in pictures if digest not in vectors}
        if new:
            vectors |= zip(new, map(encode, embed([*new.values()])), strict=True)
        rows = [
            (item, address, digest, vectors.get(digest), problem)
            for address, (digest, _, problem) in found.items()
            for item in items_of[address]
        ]
        lake.upsert("pictures", pd.DataFrame(rows, columns=[*TABLES["pictures"].names]))
        skipped += [(item, address, problem) for item, address, _, _, problem in rows if problem]
        count += len(found)
        if failures == MAX_FAILURES:
            break
    return Report(len(addresses), count, len(wanted) - count, tuple(skipped))


def _look(
    address: str, read: Callable[[str], bytes]
) -> tuple[str | None, np.ndarray | None, str | None]:
    """Return a picture's hash and colours, or its problem."""
    try:
        content = read(address)
        return hashlib.sha256(content).hexdigest(), decode(content), None
    except PictureProblem as problem:
        return None, None, problem.code


def encode(vector: np.ndarray) -> str:
    """Return a vector as text of 16 bits a number."""
    return base64.b64encode(vector.astype(np.float16).tobytes()).decode()


def vectors_of(lake: "Lake", items: Sequence[str] | np.ndarray) -> np.ndarray:
    """Return the vectors of some items, (n, `SIZE`) float32; NaN without a picture."""
    stored = lake.table("pictures").select("item_id", "vector")
    frame = stored.filter(stored.vector.notnull()).execute()
    encoded = dict(zip(frame["item_id"], frame["vector"], strict=True))
    vectors = np.full((len(items), SIZE), np.nan, np.float32)
    for place, item in enumerate(items):
        if text := encoded.get(item):
            vectors[place] = np.frombuffer(base64.b64decode(text), np.float16)
    return vectors
