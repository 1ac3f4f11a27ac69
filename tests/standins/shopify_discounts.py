"""Shopify's stand-in with the discounts of the demo's fake shop."""

from typing import Any

from retention.demo.graphql import Field, GraphqlError
from retention.demo.shopify_discounts import Discounts
from tests.standins.server import Call
from tests.standins.shopify import Shopify


class ShopifyDiscounts(Shopify):
    """A shop at Shopify that also makes discount codes."""

    def __init__(self, port: int = 0, **options: Any) -> None:
        super().__init__(port)
        self.discounts = Discounts(**options)
        self.restore_rate = 1e9  # no test waits for the bucket

    def _query(self, call: Call, fields: list[Field]) -> dict[str, Any]:
        own, others = self._divided(fields)
        return {**(super()._query(call, others) if others else {}), **self._answered(own)}

    def _mutate(self, fields: list[Field]) -> dict[str, Any]:
        own, others = self._divided(fields)
        if own and "write_discounts" not in self.scopes:
            raise GraphqlError("ACCESS_DENIED", "Required access: `write_discounts` access scope.")
        return {**(super()._mutate(others) if others else {}), **self._answered(own)}

    def _divided(self, fields: list[Field]) -> tuple[list[Field], list[Field]]:
        known = self.discounts.fields()
        own = [
            each
            for each in fields
            if each.name in known and not str(each.arguments.get("query")).startswith("updated_at")
        ]
        return own, [each for each in fields if each not in own]

    def _answered(self, fields: list[Field]) -> dict[str, Any]:
        return {each.name: self.discounts.answer(each) for each in fields}
