"""``python -m tests.benchmarks.pictures``: what pictures add to lists with new items.

Prints a Markdown table for made-up shops, each with and without pictures. In the first kind, the
shape, colour and pattern of a product drive who buys it. In the second, the same pictures are
shuffled, so that they say nothing. Needs the extra ``pictures``.
"""

import argparse
import io
import tempfile
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw
from scipy.sparse import csr_matrix

from retention.lake import Lake
from retention.list_rules import PLAIN
from retention.pictures import store
from retention.pictures.decoding import decode
from retention.pictures.embedding import embed
from retention.recommend import recommend, train
from retention.recommend.catalogue import Catalogue
from retention.recommend.item_similarity import COLOUR, picture_weight
from retention.recommend.reranking import Terms
from tests import shops

COLOURS = {
    "red": (200, 40, 45),
    "blue": (40, 80, 190),
    "green": (50, 150, 70),
    "yellow": (235, 200, 60),
    "black": (40, 40, 45),
    "pink": (235, 150, 185),
}
SHAPES = ("round", "square", "tall", "star")
PATTERNS = ("plain", "stripes", "dots", "checks")
KINDS = ("mug", "bag", "lamp", "cushion")
NAMES = ("Aster", "Birk", "Calla", "Dune", "Elm", "Fjord", "Grove", "Heron", "Iris", "Juno")
KNOWN, NEW, CUSTOMERS, DAYS, HORIZON = 220, 60, 700, 300, 28
LIKES, LIKES_KIND = 4.0, 3.0  # times as likely to buy per liked property, per liked kind
EDGE, LIGHT = 300, (250, 245, 235)
SHOPS, FIRST_SEED = 20, 100  # seeds below were for development
FULL = Terms(PLAIN.model_copy(update={"explore": 0.5}))  # 10 of 20 places for new items
DEFAULT = Terms(PLAIN.model_copy(update={"explore": 0.1}))  # 1 of 10, as in a shop


def draw(rng: np.random.Generator, look: tuple[str, str, str]) -> Image.Image:
    """Draw a product in front of a light background, with its own size, place, light and turn."""
    colour, shape, pattern = look
    paint = tuple(int(np.clip(each + rng.integers(-18, 19), 0, 255)) for each in COLOURS[colour])
    cloth = Image.new("RGB", (EDGE, EDGE), paint)
    brush, width = ImageDraw.Draw(cloth), int(rng.integers(14, 24))
    for x in range(0, EDGE, 2 * width):
        if pattern == "stripes":
            brush.rectangle((x, 0, x + width, EDGE), fill=LIGHT)
        for y in range(0, EDGE, 2 * width):
            if pattern == "dots":
                brush.ellipse((x, y, x + width, y + width), fill=LIGHT)
            elif pattern == "checks":
                brush.rectangle((x, y, x + width, y + width), fill=LIGHT)
                brush.rectangle((x + width, y + width, x + 2 * width, y + 2 * width), fill=LIGHT)
    mask = Image.new("L", (EDGE, EDGE), 0)
    cut, radius = ImageDraw.Draw(mask), int(rng.integers(80, 115))
    cx, cy = (EDGE // 2 + int(rng.integers(-15, 16)) for _ in range(2))
    box = (cx - radius, cy - radius, cx + radius, cy + radius)
    if shape == "round":
        cut.ellipse(box, fill=255)
    elif shape == "square":
        cut.rectangle(box, fill=255)
    elif shape == "tall":
        tall = (cx - radius // 2, cy - radius - 20, cx + radius // 2, cy + radius + 20)
        cut.rounded_rectangle(tall, 30, fill=255)
    else:
        turn, length = np.arange(10) * np.pi / 5, np.where(np.arange(10) % 2, 0.45, 1.1) * radius
        cut.polygon(
            [*zip(cx + length * np.sin(turn), cy - length * np.cos(turn), strict=True)], 255
        )
    background = tuple(int(each) for each in rng.integers(235, 256, 3))
    picture = Image.new("RGB", (EDGE, EDGE), background)
    picture.paste(cloth.rotate(float(rng.uniform(-12, 12))), mask=mask)
    return picture


def made_up(folder: Path, seed: int, *, matters: bool) -> tuple[Lake, dict[str, set[str]], Path]:
    """Write a shop up to the cutoff, and its pictures.

    Returns: the lake, the new items that each customer buys afterwards, the pictures' folder.
    """
    rng = np.random.default_rng(seed)
    count = KNOWN + NEW
    looks = np.column_stack([rng.choice(each, count) for each in ([*COLOURS], SHAPES, PATTERNS)])
    kind = rng.choice(KINDS, count)
    taste = np.column_stack(
        [rng.choice(each, CUSTOMERS) for each in ([*COLOURS], SHAPES, PATTERNS)]
    )
    shared = (taste[:, None, :] == looks[None]).sum(axis=2)
    likes_kind = rng.choice(KINDS, CUSTOMERS)[:, None] == kind[None]
    chance = LIKES**shared * LIKES_KIND**likes_kind * rng.gamma(2, 1, count)
    ids = np.array([f"i{number:03}" for number in range(count)])
    rows = []
    for who, orders in enumerate(rng.poisson(6, CUSTOMERS) + 2):
        sold = chance[who, :KNOWN] / chance[who, :KNOWN].sum()
        for day in np.sort(rng.uniform(0, DAYS, orders)):
            rows += [(f"c{who:03}", day, item) for item in rng.choice(ids[:KNOWN], 2, p=sold)]
    frame = pd.DataFrame(rows, columns=["customer_id", "day", "item_id"])
    frame["occurred_at"] = pd.Timestamp(shops.BEGIN) + pd.to_timedelta(frame.pop("day"), unit="D")
    events = frame.assign(event_type="purchase", amount=10.0, quantity=1.0)
    fresh = chance[:, KNOWN:] / chance[:, KNOWN:].sum(axis=1, keepdims=True)
    bought = {
        f"c{who:03}": {*rng.choice(ids[KNOWN:], 3, replace=False, p=fresh[who])}
        for who in range(CUSTOMERS)
    }
    folder.mkdir(parents=True, exist_ok=True)
    lake = shops.lake(folder, events)
    title = [f"{rng.choice(NAMES)} {each} {number}" for number, each in enumerate(kind)]
    items = pd.DataFrame({"item_id": ids, "title": title, "category": kind, "price": 10.0})
    lake.upsert("items", items.assign(in_stock=True))
    pictures = folder / "pictures"
    pictures.mkdir()
    seen = looks if matters else looks[rng.permutation(count)]
    for item, look in zip(ids, seen, strict=True):
        draw(rng, tuple(look)).save(pictures / f"{item}.png")
    return lake, bought, pictures


def recalls(lake: Lake, bought: dict[str, set[str]]) -> np.ndarray:
    """Return the recall of new items on 10 places, and the share of single places that hit."""
    cutoff = shops.BEGIN + timedelta(days=DAYS)
    trained, who = train(lake, cutoff=cutoff), [*bought]
    shown = []
    for terms, k in ((FULL, 20), (DEFAULT, 10)):
        lists = recommend(trained, lake, who, k=k, as_of=cutoff, terms=terms)
        new = {
            each: {item.item_id for item in items if item.source in ("new_item", "looks_like")}
            for each, items in lists.items()
        }
        shown.append(new)
    full, default = shown
    return np.array(
        [
            np.mean([len(bought[each] & full[each]) / len(bought[each]) for each in who]),
            np.mean([len(bought[each] & default[each]) for each in who]),
        ]
    )


def measure(seed: int, *, matters: bool) -> np.ndarray:
    """Return `recalls` without and with pictures of one shop."""
    with tempfile.TemporaryDirectory() as folder:
        lake, bought, pictures = made_up(Path(folder), seed, matters=matters)
        addresses = store.folder_addresses(pictures)
        store.update(lake, addresses, partial(store.read_file, pictures), embed)
        found = []
        for is_on in (False, True):
            lake.uses_pictures = is_on
            found.append(recalls(lake, bought))
        return np.array(found)


def same_as_nearest(count: int = 400, nearest: int = 10) -> pd.DataFrame:
    """Return how often the nearest pictures share a property, by the model, by colours, by both."""
    rng = np.random.default_rng(0)
    looks = np.column_stack([rng.choice(each, count) for each in ([*COLOURS], SHAPES, PATTERNS)])
    files = [io.BytesIO() for _ in looks]
    for file, look in zip(files, looks, strict=True):
        draw(rng, tuple(look)).save(file, "PNG")
    vectors = embed([decode(file.getvalue()) for file in files])
    vectors -= vectors.mean(axis=0)
    parts = {"model": vectors[:, : store.FEATURES], "colours": vectors[:, store.FEATURES :]}
    alike = {name: cosines(part) for name, part in parts.items()}
    alike["both"] = alike["model"] + COLOUR * alike["colours"]
    shares = {}
    for name, values in alike.items():
        np.fill_diagonal(values, -np.inf)
        place = np.argsort(-values, axis=1)[:, :nearest]
        shares[name] = (looks[place] == looks[:, None]).mean(axis=(0, 1))
    return pd.DataFrame(shares, index=["colour", "shape", "pattern"])


def cosines(vectors: np.ndarray) -> np.ndarray:
    """Return the cosine of each pair."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit @ unit.T


def known_shop(
    rng: np.random.Generator, *, matters: bool, items: int = 120, customers: int = 400
) -> tuple[Any, np.ndarray, Catalogue]:
    """Return interactions of customers with one of four looks, and vectors of the items."""
    look, taste = rng.integers(0, 4, items), rng.integers(0, 4, customers)
    chance = np.where(taste[:, None] == look[None], 0.12, 0.02)
    liked = csr_matrix((rng.random(chance.shape) < chance).astype(np.float32))
    vectors = rng.normal(0, 0.3, (items, store.SIZE)).astype(np.float32)
    seen = look if matters else rng.permutation(look)
    vectors[np.arange(items), seen] += 10
    ids = np.array([f"i{number:03}" for number in range(items)], dtype=object)
    interactions = SimpleNamespace(item_stats=SimpleNamespace(items=ids), liked=liked)
    return interactions, vectors, Catalogue({item: item for item in ids}, frozenset())


def counted(*, matters: bool, shops: int = 200) -> float:
    """Return the share of shops in which pictures count."""
    made = (known_shop(np.random.default_rng(seed), matters=matters) for seed in range(shops))
    return float(np.mean([picture_weight(each[1], each[0], each[2]) > 0 for each in made]))


def interval(values: np.ndarray) -> str:
    """Return the mean with a 95% bootstrap interval over shops."""
    rng = np.random.default_rng(0)
    draws = rng.choice(values, (10_000, len(values))).mean(axis=1)
    low, high = np.percentile(draws, [2.5, 97.5])
    return f"{values.mean():+.3f} ({low:+.3f} to {high:+.3f})"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--shops", type=int, default=SHOPS)
    parser.add_argument("--seed", type=int, default=FIRST_SEED)
    parser.add_argument("--only", choices=("matter", "shuffled"))
    asked = parser.parse_args()
    if not asked.only:
        print(same_as_nearest().round(2), flush=True)
        for matters in (True, False):
            print(f"pictures matter: {matters}; they count in {counted(matters=matters):.1%}")
    print("| shops | measure | without | with | gain |")
    print("| --- | --- | --- | --- | --- |")
    for name, matters in (("looks matter", True), ("pictures shuffled", False)):
        if asked.only and asked.only not in name:
            continue
        seeds = range(asked.seed, asked.seed + asked.shops)
        found = np.array([measure(seed, matters=matters) for seed in seeds])
        for place, what in enumerate(("recall of new items, 10 places", "hits of the one place")):
            without, with_pictures = found[:, 0, place], found[:, 1, place]
            means = f"{without.mean():.3f} | {with_pictures.mean():.3f}"
            print(
                f"| {name} | {what} | {means} | {interval(with_pictures - without)} |", flush=True
            )
        if not matters:
            changed = int((found[:, 0] != found[:, 1]).any(axis=1).sum())
            print(f"shops with shuffled pictures whose lists changed: {changed} of {len(found)}")


if __name__ == "__main__":
    main()
