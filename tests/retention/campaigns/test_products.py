"""Test what e-mails learn of items from the lake."""

import json

import pandas as pd

from retention.campaigns.planning.product_details import Product, find_products, offered_items
from retention.lake import Lake

PICTURE, PAGE = "https://tea.example/tea.png", "https://tea.example/tea"
ATTRIBUTES = {
    "whole": json.dumps({"image": PICTURE, "url": PAGE}),
    "other names": json.dumps({"picture": PICTURE, "link": PAGE}),
    "unsafe": json.dumps({"image": "javascript:alert(1)", "url": "ftp://tea.example"}),
    "no object": "[1, 2]",
    "no text": json.dumps({"image": {"src": PICTURE}, "url": 5}),
    "none": None,
}


def test_products_have_price_picture_and_url_if_the_lake_has_them(settings):
    lake = Lake.open(settings)
    rows = pd.DataFrame(
        {"item_id": [*ATTRIBUTES], "price": [8.5] * 5 + [None], "attributes": ATTRIBUTES.values()}
    )
    lake.upsert("items", rows)
    offers = [{"items": [{"item_id": name}]} for name in (*ATTRIBUTES, "unknown")]
    products = find_products(lake, offered_items(offers))
    assert products == {
        "whole": Product(8.5, PICTURE, PAGE),
        "other names": Product(8.5, PICTURE, PAGE),
        "unsafe": Product(8.5),
        "no object": Product(8.5),
        "no text": Product(8.5),
        "none": Product(),
    }
    assert find_products(lake, set()) == {}
