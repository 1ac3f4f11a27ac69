"""Find the typed values of a sentence: customers, campaigns, percentages, money, days."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from functools import partial

from bot.ask import dates
from bot.ask.dates import NUMBER, number
from bot.ask.figures import find_conditions
from bot.ask.places import find_places
from bot.ask.references import Vocabulary, find_campaign, find_listed, find_person

_LETTERS = "2-9abcdefghjkmnpqrstvwxyz"
_BEFORE, _AFTER = r"(?<![a-z0-9_-])", r"(?![a-z0-9_-])"
_CAMPAIGN = (
    rf"{_BEFORE}(c(?=[a-z]{{0,5}}[2-9])[{_LETTERS}]{{6}}){_AFTER}",
    rf"(?:\bcampaign |活动)(c[{_LETTERS}]{{6}}|c[a-z]*[2-9][{_LETTERS}]*){_AFTER}",
)
_PSEUDONYM = rf"{_BEFORE}([0-9a-hjkmnp-tv-z]{{4}}-[0-9a-hjkmnp-tv-z]{{4}}){_AFTER}"
_EMAIL = r"([\w.+-]+@[\w-]+(?:\.[\w-]+)+)"
_VERSION = r"\b((?:churn|recommend)-\d{8}-[0-9a-f]{6})\b"
_PERSON = r"<@([uw][a-z0-9]+)(?:\|[^>]*)?>"
_JOB = r"\bjob ([0-9a-f]{12})\b"
_CUSTOMER_NOUN = (
    r"(?:customers?|clients?|households?|shoppers?|cards?|buyers?|顾客|客户|用户|"
    r"家庭)(?: ?no\.?| #| number| id)? ?"
)
_NAMED_CUSTOMER = rf"(?:\b|(?<=[\u4e00-\u9fff])){_CUSTOMER_NOUN}((?=[\w-]*\d)[a-z0-9][a-z0-9_-]*)"
_AMOUNT = r"(\d[\d,.']*\d|\d)"
_CURRENCY = r"(?:€|\$|£|¥|eur(?:os?)?|usd|dollars?|bucks|pounds?|gbp|yuan|欧元?|美元|元|块钱?)"
_AT_MOST = (
    r"(?:and )?(?:keep )?(?:with )?(?:a |the )?(?:budget(?: (?:of|is|under|below|at most|to|"
    r"up to))?|under|below|at most|up to|max(?:imum)?\.?|no more than|not more than|less than|"
    r"capped at|预算|不超过|最多)"
)
_MONEY = (
    rf"{_AT_MOST} ?(?:of )?(?:€|\$|£|¥)?{_AMOUNT} ?{_CURRENCY}?(?![a-z0-9%])(?: at most)?",
    rf"(?:with )?(?:€|\$|£|¥){_AMOUNT} (?:at most|max(?:imum)?|budget)",
    rf"(?:with )?{_AMOUNT} ?{_CURRENCY} (?:at most|max(?:imum)?|budget)",
    rf"{_AT_MOST}{_AMOUNT}{_CURRENCY}",
)
_PERCENT_UNIT = r" ?(?:%|percent|per cent|pct)"
_OFF = r"(?: ?(?:off|discount|coupons?|的?折扣|的?优惠))?"
_HOLDOUT = (
    rf"(?:with )?(?:a )?(\d+(?:\.\d+)?){_PERCENT_UNIT} (?:hold-?out|control)(?: group)?",
    rf"(?:with )?(?:the |a )?(?:hold-?out|control)(?: group)?(?: \S+)?(?: of| to|"
    rf" at)* (\d+(?:\.\d+)?){_PERCENT_UNIT}",
    r"对照组?(\d+(?:\.\d+)?)%",
)
_PERCENT = (
    rf"(?:(?:\bwith|\bat|\bfor|\bof|\bto)? ?(?:a |"
    rf"an )?)(?<![\d.])(\d+(?:\.\d+)?){_PERCENT_UNIT}{_OFF}"
)
_PERCENT_WORD = rf"(?:\bwith )?\b({NUMBER}){_PERCENT_UNIT}{_OFF}"
_ZH_DIGIT = "[1-9一二三四五六七八九]"
_ZH_DISCOUNT = rf"打?({_ZH_DIGIT})({_ZH_DIGIT})?折(?:优惠)?券?"
_HALF_PRICE = r"\bhalf (?:price|off)\b|半价|[打对]对折|对折"
_CHANNEL = (
    (r"\b(?:by|via|as|per|with|in) (?:an? )?(?:text(?: messages?)?|sms)\b|短信", "sms"),
    (r"\b(?:by|via|on|over|through) whats ?app\b|whatsapp", "whatsapp"),
)
_PEOPLE = (
    r"(?:customers|clients|people|ppl|households|buyers|shoppers|risky|riskiest|most|highest|"
    r"biggest|worst)"
)
_TOP = (
    rf"\b(?:the )?(?:top|first) ({NUMBER})\b(?: {_PEOPLE})*",
    rf"\b(?:the |say )?({NUMBER}) (?:[\ue000-\ue01f]+ |[a-z]+ )?{_PEOPLE}\b",
    r"前(\d+|[一二三四五六七八九十两])[名个位]?(?:客户)?",
    r"top ?(\d+)",
    r"(\d+)[名个位](?:客户|顾客)",
)
_ITEMS = r"(?:new )?(?:products?|items?|recommendations?|recs|ideas|suggestions|articles)"
_COUNT = (
    rf"\b(?:the )?(?:top )?({NUMBER}) (?={_ITEMS}\b)",
    r"\bk ?= ?(\d+)\b",
    rf"\b(?:show|recommend|give me|suggest) (?:only |just )?(?!\d{{3}})({NUMBER})(?![\w-])(?! ?%)",
    r"(\d+|[一二三四五六七八九十两])[件个款](?=商品|产品|推荐)",
)
_MONTHS = (
    rf"\b(?:(?:for |of |over |in )?(?:the )?(?:last |past ))?({NUMBER}) months?\b(?! ago)",
    r"(?:最近|过去)?(\d+)个月(?!前)",
)
_DAYS = (
    rf"\b(?:(?:over |in |for )?(?:the )?(?:last |past ))?({NUMBER}) days?\b(?! ago)",
    r"(?:最近|过去)?(\d+)天(?!前)",
)
_TIER = (
    (
        r"\b(?:at least |any |with )?(?:a )?(?:(?:risk )?medium(?:[- ]risk)?(?: or higher|"
        r" and (?:above|up|higher))?|medium tier|medium)(?: or higher| and (?:above|up|higher)|"
        r" risk)*(?: included| too| as well)?\b|"
        r"中(?:等)?风险(?:及|或)?(?:以上|更高)?",
        "medium",
    ),
    (
        r"\b(?:low(?:[- ]risk)|all (?:risk )?(?:tiers|levels))(?: and (?:above|up))?\b|"
        r"低风险(?:及?以上)?|所有风险",
        "low",
    ),
    (r"\b(?:with )?(?:a |the )?(?:high(?:[- ]risk| tier)|risk high)(?: tier)?\b|高风险", "high"),
)
_CAPITALISED_NAME = re.compile(
    r"\b(?i:called|named|with the name|name it)[ :]+"
    r"([A-Z0-9][\w'-]*(?: [A-Z0-9][\w'-]*)*)"
)
_BUDGET_TO = r"\bbudget\b[^.?!]{0,30}? (?:to|of|at) (?:€|\$|£)?(\d[\d,.]*\d|\d)(?![\d%])"
_NAME = (
    r"(?:^|(?<=please )|(?<=let's ))(?:call|name|rename) it(?: to)?[ :]+(?!an? |off\b|"
    r"quits\b)\"?([^\".!?,]+?)\"?(?:,? (?:please|pls))?[.!]?$",
    r"\b(?:called|named|with the name|name it)[ :]+(?:\"([^\"]+)\"|([a-z0-9][\w'-]*))",
    r"(?:名为|叫做?|命名为)[\"“「]?([\w\u4e00-\u9fff]{1,20})[\"”」]?",
)
_REASON = (r"\b(?:because(?: of)?|reason:?) (.+?)[.!?]*$", r"(?:因为|原因是|原因：?)(.+?)[。！]*$")
_BARE = (
    r"(?<![a-z0-9_.,%-])(?<!\bover )(?<!\babove )(?<!\bthan )(?<!\bunder )(?<!\bbelow )(?<!\bat )"
    "(?<!\\bleast )(?<!\\bmost )(?<!\\bby )(?<!\ue003 of )(?<!\\baged )(?<!\\d to )"
    r"#?(\d{1,12})(?![a-z0-9_%-]|[.,:]\d)"
    r"(?! to \d)(?! (?:orders?|years?|days?|weeks?|months?|minutes?|hours?|times|eur\w*|dollars?|"
    r"points?)\b)"
)


@dataclass(frozen=True, slots=True)
class Value:
    """A value and its span in the sentence."""

    kind: str
    value: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Values:
    """The values of a sentence, and the sentence with each value replaced by a mark."""

    found: tuple[Value, ...]
    masked: str  # lower case; as long as the sentence

    def get(self, kind: str) -> str | None:
        """Return the first value of a kind."""
        return next((value.value for value in self.found if value.kind == kind), None)


# A mark per kind, repeated over the span. Patterns of the rules name these.
_KINDS = (
    "person customer campaign percent holdout money top count day months days tier weekday time "
    "name reason job version audience place zone monthday channel "
    "listed "  # "the second one" of a list that has no second one
    "campaigns"  # several that a name may mean
)
MARKS = {kind: chr(0xE000 + number) for number, kind in enumerate(_KINDS.split())}
_MARKED = frozenset(MARKS.values())


@dataclass
class _Finder:
    text: str
    low: str
    found: list[Value] = field(default_factory=list)

    def take(self, kind: str, value: str, start: int, end: int) -> None:
        self.found.append(Value(kind, value, start, end))
        self.low = self.low[:start] + MARKS[kind] * (end - start) + self.low[end:]

    def all(
        self,
        kind: str,
        pattern: str,
        value: Callable[[re.Match[str]], str | None] | None = None,
        *,
        inner: bool = False,
    ) -> None:
        """Take all values; ``inner`` leaves the words around the pattern's group."""
        while match := self._next(pattern, value, inner=inner):
            found, start, end = match
            self.take(kind, found, start, end)

    def _next(
        self, pattern: str, value: Callable[[re.Match[str]], str | None] | None, *, inner: bool
    ) -> tuple[str, int, int] | None:
        for match in re.finditer(pattern, self.low):
            whole = value(match) if value else self.text[slice(*match.span(1))]
            if whole is not None:
                return whole, *match.span(1 if inner else 0)
        return None


def find_values(
    text: str, today: date, vocabulary: Vocabulary | None = None, *, in_list: bool = False
) -> Values:
    vocabulary = vocabulary or Vocabulary()
    low = text.lower()
    finder = _Finder(text, low if len(low) == len(text) else text)
    for pattern in _REASON:
        finder.all("reason", pattern)
    for name in sorted(vocabulary.audiences, key=len, reverse=True):
        around = (
            rf"{_BEFORE}(?:the )?(?:audience )?({re.escape(name.lower())})(?: audience)?{_AFTER}"
        )
        finder.all("audience", around, partial(_constant, name))
    finder.all("person", _PERSON, lambda match: match[1].upper())
    if match := _CAPITALISED_NAME.search(text):
        finder.take("name", match[1], *match.span())
    for pattern in _NAME:
        finder.all("name", pattern, lambda match: _original(text, match))
    for kind, pattern in (
        ("version", _VERSION),
        ("job", _JOB),
        ("customer", _EMAIL),
        *(("campaign", pattern) for pattern in _CAMPAIGN),
        ("customer", _PSEUDONYM),
    ):
        finder.all(kind, pattern)
    if campaign := find_campaign(finder.low, vocabulary.campaigns):
        ids, *span = campaign
        finder.take("campaigns" if ids[1:] else "campaign", " ".join(ids), *span)
    if in_list and (listed := find_listed(finder.low, vocabulary.customers)):
        finder.take("customer" if listed[0] else "listed", *listed)
    if zone := dates.find_zone(finder.low):
        finder.take("zone", *zone)
    if place := find_places(finder.low, vocabulary.places or {}):
        finder.take("place", *place)
    _find_times(finder, today)
    for pattern in _HOLDOUT:
        finder.all("holdout", pattern)
    finder.all("percent", _PERCENT)
    finder.all("percent", _PERCENT_WORD, lambda match: str(number(match[1])))
    finder.all("percent", _ZH_DISCOUNT, _zh_discount)
    finder.all("percent", _HALF_PRICE, partial(_constant, "50"))
    for pattern, channel in _CHANNEL:
        finder.all("channel", pattern, partial(_constant, channel))
    for pattern in _MONEY:
        finder.all("money", pattern, lambda match: match[1].replace(",", "").replace("'", ""))
    finder.all("money", _BUDGET_TO, lambda match: match[1].replace(",", ""), inner=True)
    for pattern, tier in _TIER:
        finder.all("tier", pattern, partial(_constant, tier))
    for kind, patterns in (("top", _TOP), ("months", _MONTHS), ("days", _DAYS), ("count", _COUNT)):
        for pattern in patterns:
            if kind == "count":
                finder.all("customer", _NAMED_CUSTOMER)
            as_digits = lambda match: str(number(match[1]))  # noqa: E731
            finder.all(kind, pattern, as_digits, inner=kind == "count")
    spans = [range(start, end) for _, start, end in find_conditions(low, vocabulary.goods)]

    def outside(match: re.Match[str]) -> str | None:
        is_inside = any(match.start() in span for span in spans)
        return None if is_inside else text[slice(*match.span(1))]

    finder.all("customer", _NAMED_CUSTOMER)
    finder.all("customer", r"(\d+) ?号?(?:的)?(?:客户|家庭|顾客|用户)", outside)
    finder.all("customer", _BARE, outside)
    if vocabulary.persons and not any(value.kind == "customer" for value in finder.found):
        masked = "".join(
            low if low in _MARKED else letter for low, letter in zip(finder.low, text, strict=True)
        )
        if person := find_person(masked):
            finder.take("customer", *person)
    return Values(tuple(sorted(finder.found, key=lambda value: value.start)), finder.low)


def _find_times(finder: _Finder, today: date) -> None:
    found, monthday = dates.find_weekday(finder.low), dates.find_monthday(finder.low)
    if found or monthday:
        finder.take("weekday" if found else "monthday", *(found or monthday or ("", 0, 0)))
        if at := dates.find_time(finder.low):
            finder.take("time", *at)
    while day := dates.find_day(finder.low, today):
        finder.take("day", day[0].isoformat(), day[1], day[2])


def _original(text: str, match: re.Match[str]) -> str | None:
    groups = range(1, (match.lastindex or 0) + 1)
    return next((text[slice(*match.span(group))] for group in groups if match[group]), None)


def _constant(value: str, _match: re.Match[str]) -> str:
    return value


def _zh_discount(match: re.Match[str]) -> str | None:
    """Return the discount of 8折 (pay 80%) or 85折."""
    paid = number(match[1]) * 10 + (number(match[2]) if match[2] else 0)
    return str(100 - paid) if 0 < paid < 100 else None
