"""Item titles of cash registers become readable; others keep their words."""

import pytest

from retention.lake.item_titles import readable_title


@pytest.mark.parametrize(
    ("title", "readable"),
    [
        ("SOFT DRINKS 12/18&15PK CAN CAR", "Soft Drinks Cans"),
        ("Sft drnk sngl srv btl carb (ex, 20 OZ", "Soft drink single serve bottle"),
        ("RED SPOTTY MUG 12cm", "Red Spotty Mug 12cm"),
        ("BBQ SAUCE OF THE WEST", "BBQ Sauce of the West"),
        ("Bananas, 40 LB", "Bananas"),
        ("Meat:ham bulk", "Meat: ham bulk"),
        ("Coffee No. 3", "Coffee No. 3"),
        ("Low carb bread", "Low carb bread"),
        ("咖啡", "咖啡"),
        ("12/18", "12/18"),
    ],
)
def test_title_is_readable(title, readable):
    assert readable_title(title) == readable
