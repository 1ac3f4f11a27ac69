"""Which items are one product in several sizes or colours."""

import re
from functools import lru_cache

_NUMBER = r"\d+(?:[.,/]\d+)?"
_UNIT = (
    r"(?:fl\.?\s*)?(?:oz|lbs?|g|gr|kg|mg|ml|l|lt|ltr|litres?|liters?|cl|dl|mm|cm|m|in|inch(?:es)?|ft|yd|ct|count|"
    r"pk|packs?|pcs?|pieces?|sheets?|rolls?|gal?|qt|pt|dz|doz|dozen|tabs?|tablets?|caps?|capsules?|bags?|w|watt)"
)
_SIZES = re.compile(
    rf"\b{_NUMBER}(?:\s*x\s*{_NUMBER})*\s*(?:{_UNIT}\b|[\"'%])|\b(?:set|pack|box|case|bag)s?\s*(?:of|/|x)\s*\d+\b|"
    r"\b(?:xxs|xs|xl|xxl|xxxl|\d?xl|small|medium|large)\b|\bsize\s+\w+\b|(?<=[\s,(/-])[sml]\)?$",
    re.IGNORECASE,
)
_COLOURS = re.compile(
    r"\b(?:black|white|red|green|blue|yellow|orange|purple|pink|brown|gr[ea]y|beige|cream|ivory|turquoise|teal|navy|gold|"
    r"silver|bronze|copper|lilac|lavender|mint|violet|burgundy|maroon|khaki|coral|peach|magenta|cyan|charcoal)\b"
)
_REST = re.compile(r"[^\w\s&'.#+-]")


@lru_cache(maxsize=100_000)  # the same titles are asked about for one customer after the other
def variant_of(title: str) -> str:
    """A title without its sizes and, where two words are left, its colours: what its variants have in common.

    A bare number stays: ``Coffee no. 3`` is not ``Coffee no. 4``.

    >>> variant_of("RED SPOTTY MUG 12cm"), variant_of("Kids cereal, 14.5 OZ"), variant_of("White wine 75 cl")
    ('spotty mug', 'kids cereal', 'white wine')
    """
    plain = _REST.sub(" ", _SIZES.sub(" ", title.casefold())).split()
    bare = [word for word in plain if not _COLOURS.fullmatch(word)]
    return " ".join(bare if len(bare) > 1 else plain) or title.casefold()
