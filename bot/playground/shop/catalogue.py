"""Read the products that the fake shop sells (``python -m bot.playground.shop.catalogue``).

This is a separate process, so the page's process never loads the lake's code.
"""

import json
import sys
from typing import Any

from retention.lake import Lake
from retention.settings import Settings

SHOWN = 24  # products on the shop's page
PER_CATEGORY = 2
KEPT = 50  # products of each category that a discount can be limited to

# The products that most households buy, of many categories.
_POPULAR = f"""
WITH sold AS (
    SELECT item_id, count(DISTINCT customer_id) AS buyers
    FROM {{events}} WHERE event_type = 'purchase' GROUP BY item_id
), ranked AS (
    SELECT items.item_id, items.title, items.category, items.price, buyers,
        row_number() OVER (PARTITION BY items.category ORDER BY buyers DESC, items.item_id)
            AS place,
        row_number() OVER (PARTITION BY items.title ORDER BY buyers DESC, items.item_id) AS same
    FROM {{items}} AS items JOIN sold USING (item_id)
    WHERE items.price >= 0.5 AND items.title IS NOT NULL AND items.category IS NOT NULL
)
SELECT item_id, title, category, round(price, 2) AS price FROM ranked
WHERE place <= {PER_CATEGORY} AND same = 1 ORDER BY buyers DESC, item_id LIMIT {SHOWN}
"""  # noqa: S608 - names of our own tables
_CATEGORIES = f"""
SELECT category, list(item_id ORDER BY item_id)[:{KEPT}] FROM {{items}}
WHERE category IS NOT NULL GROUP BY category
"""  # noqa: S608 - names of our own tables


def read(settings: Settings) -> dict[str, Any]:
    """Return the shop's products and the products of each category.

    Returns: ``products``: item_id, title, category and price. ``categories``: item ids by category.
    """
    lake = Lake.open(settings)
    tables = {name: lake.table(name).get_name() for name in ("events", "items")}
    columns = ("item_id", "title", "category", "price")
    products = lake.duckdb.execute(_POPULAR.format(**tables)).fetchall()
    categories = dict(lake.duckdb.execute(_CATEGORIES.format(**tables)).fetchall())
    for item_id, _, category, _ in products:
        if item_id not in categories[category]:
            categories[category].append(item_id)
    return {
        "products": [dict(zip(columns, map(_plain, row), strict=True)) for row in products],
        "categories": categories,
    }


def _plain(value: Any) -> Any:
    return value if isinstance(value, str) else float(value)


if __name__ == "__main__":
    json.dump(read(Settings()), sys.stdout)
