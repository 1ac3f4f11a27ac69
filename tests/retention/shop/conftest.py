"""A sample shop that all tests of the library read."""

import pytest

import retention


@pytest.fixture(scope="package")
def orders():
    """Orders of 130 customers."""
    return retention.sample_orders(130)


@pytest.fixture(scope="package")
def shop(orders):
    """The shop of these orders."""
    with retention.Shop.from_frames(orders, horizon=56, verbose=False) as shop:
        yield shop
