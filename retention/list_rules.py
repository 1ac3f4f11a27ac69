"""Validate the rules for recommendation lists.

They are section ``[recommend]`` of the policy file.
"""

import re
from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from retention.text import gettext

ListPolicy = Literal["repeat", "new", "both"]
Names = tuple[Annotated[str, Field(min_length=1)], ...]
# It is mostly forbidden to promote these.
FORBIDDEN = ("Cigarettes", "Cigars", "Tobacco", "Tobacco other", "E-cigarettes", "Infant formula")
# Words of categories of alcohol, in the languages of most shops.
_ALCOHOL = """
alcohol alcoholic ale ales beer beers brandy champagne cider ciders cognac gin lager
lagers liqueur liqueurs liquor liquors prosecco rum sake spirits tequila vodka whiskey
whisky wine wines alkohol alkoholika bier biere likör liköre rotwein schnaps sekt
spirituosen wein weine weißwein weisswein alcool alcools bière bières spiritueux vin vins
alcohólicas cerveza cervezas licor licores vino vinos alcolici birra birre liquori vini
wijn wijnen 啤酒 白酒 红酒 葡萄酒 洋酒 酒类
"""
ALCOHOL: tuple[str, ...] = tuple(_ALCOHOL.split())
# Phrases with such a word that name no alcohol.
_HARMLESS = re.compile(
    r"\b(?:(?:non[- ]?alcoholic|alcohol[- ]free|alkoholfreie?[rs]?|sans alcool)\b(?: \w+)?"
    r"|(?:root|ginger) (?:ale|beer)s?|\w+ glass(?:es)?|\w+ vinegars?)\b"
)


class RecommendRules(BaseModel):
    """Items that may be recommended, and limits per kind."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    policy: ListPolicy = "both"
    exclude_categories: Names = FORBIDDEN
    exclude_category_words: Names = ALCOHOL
    exclude_brands: Names = ()
    exclude_items: Names = ()
    min_price: Annotated[float, Field(ge=0)] | None = None
    max_price: Annotated[float, Field(gt=0)] | None = None
    min_margin: Annotated[float, Field(ge=0, lt=1)] | None = None
    max_per_brand: Annotated[int, Field(ge=1)] | None = None
    max_per_type: Annotated[int, Field(ge=1)] | None = 2
    diversity: Annotated[float, Field(ge=0, lt=1)] = 0.0
    by_margin: Annotated[float, Field(ge=0, le=1)] = 0.0
    explore: Annotated[float, Field(ge=0, le=0.5)] = 0.1
    experiment: Annotated[float, Field(ge=0, le=0.5)] = 0.1
    vary_offers: bool = False
    bandit: bool = False

    @model_validator(mode="after")
    def _check_prices(self) -> "RecommendRules":
        if None not in (self.min_price, self.max_price) and self.min_price > self.max_price:  # type: ignore[operator]
            text = gettext(
                "min_price ({min_price}) is above max_price ({max_price}), so that nothing "
                "could be offered; exchange them or leave one out"
            )
            raise ValueError(text.format(min_price=self.min_price, max_price=self.max_price))
        return self


# Only what always holds: items are in stock, and none appears twice.
PLAIN = RecommendRules(
    max_per_type=None, explore=0.0, exclude_categories=(), exclude_category_words=()
)


def names_with_words(names: Iterable[str], words: Iterable[str]) -> set[str]:
    """Return the category names that contain a word.

    Only whole words count. Phrases like "ginger beer" and "wine glasses" name no alcohol.

    Examples
    --------
    >>> sorted(names_with_words(["BEERS/ALES", "Ginger beer", "Wine glasses"], ["beers", "wine"]))
    ['BEERS/ALES']
    """
    escaped = "|".join(re.escape(word.casefold()) for word in words)
    if not escaped:
        return set()
    has_word = re.compile(rf"(?<!\w)(?:{escaped})(?!\w)")
    return {name for name in names if has_word.search(_HARMLESS.sub(" ", name.casefold()))}
