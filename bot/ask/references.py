"""Find what a sentence means by a name of the shop, or by its place in the thread's list."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from bot.ask.dates import MONTHS, WEEKDAYS, number
from bot.ask.places import Places
from bot.ask.sentence import word_list
from retention.audiences import store
from retention.db.tables import Campaign
from retention.lake import customer_directory

if TYPE_CHECKING:
    from bot.services import Services

MAX_CAMPAIGNS = 200  # the newest

Span = tuple[str, int, int]

_CAPITALISED = r"[^\W\d_a-z][^\W\d_]+(?:['-][^\W\d_]+)*|[^\W\d_a-z]'[^\W\d_]+"
_NAME = re.compile(rf"\b(?:{_CAPITALISED})(?: (?:{_CAPITALISED})){{1,3}}")
_BEFORE_NAME = re.compile(
    r"\b(?:risk (?:of|for)|offer|customer|client|score|open|pull up|look up|erase|forget|delete|"
    r"recommend .{0,20}(?:for|to)|(?:data|card|profile|reasons?) (?:of|for)) $"
)
# After these, the next words decide.
_MAYBE_NAME = re.compile(
    r"(?:^|\b(?:why|is|has|does|did|will|would|might|should|about|and|like|show(?: me)?|find|"
    r"check(?: on)?|lose|losing|for|to) )$"
)
_AFTER_NAME = re.compile(r"(?:'s)? (?:card|risk|profile|score|at risk|about to|going to|likely)\b")
_GROUP = (
    r"(?:customers?|clients?|people|persons|shoppers?|buyers?|members?|users?|households?|fans?|"
    r"lovers?|subscribers?|owners|friends|ladies|men|women|kids|parents|families|teens|students|"
    r"seniors|regulars|spenders|visitors|guests|drinkers|accounts|groups?|segments?|tier|team|club)"
)
_IS_GROUP = re.compile(rf"(?:.* )?{_GROUP}", re.IGNORECASE)
_OF_GROUP = re.compile(rf" {_GROUP}\b", re.IGNORECASE)
_GOES_ON = re.compile(
    r"\W*$|(?:'s)? (?:leav|might|may|could|will|would|on (?:the|this|that) list|doing|still|churn|"
    r"like|buy|want|next|up to|stop|come|been|order|quiet|silent|gone|lost|with us)"
)
_SMALL = r"([a-z'-]{2,} [a-z'-]{2,})"
_SMALL_NAME = re.compile(
    rf"\b(?:why (?:is|might|would|could)|is) {_SMALL}"
    r"(?= (?:at risk|on (?:the|this|that) list|about to|going to|likely|leaving|churning))|"
    rf"\brisk (?:of|for) {_SMALL}(?<!s)\W*$"
)
_SURNAMES = (
    "王李张刘陈杨黄赵吴周徐孙马朱胡郭何高林罗郑梁谢宋唐许韩冯邓曹彭曾肖田董袁潘蒋蔡余杜叶程苏魏吕丁任沈"
    "姚卢姜崔钟谭陆汪范金石廖贾夏韦方白邹孟熊秦邱江尹薛闫段雷侯龙史陶黎贺顾毛郝龚邵万钱严覃武戴莫孔向汤"
)
_ZH_NAME = re.compile(
    rf"(?:^|(?:客户|顾客|看看|看下|打开|删除|删掉|给))([{_SURNAMES}][\u4e00-\u9fff]{{1,2}}?)"
    r"(?=会不会|会流失|会喜欢|快流失|是不是|的风险|的情况|的流失|为什么|为啥|接下来|可能|想买|喜欢|推荐|会买|最近|还会|要流失|"
    r"有风险|有流失)|(?<=客户)([{_SURNAMES}][\u4e00-\u9fff]{{1,2}})$"
)
_NO_ZH_NAME = re.compile("周[一二三四五六日报末]|马上|任[务何]|方案|时间|高风|金额|向来|万一|白名")

_UP_TO_TENTH = "first second third fourth fifth sixth seventh eighth ninth tenth"
_ORDINALS = {word: place for place, word in enumerate(_UP_TO_TENTH.split(), 1)} | {"last": -1}
_NTH = rf"({'|'.join(_ORDINALS)}|\d{{1,2}}(?:st|nd|rd|th))"
_LISTED = (
    rf"\b(?:the )?{_NTH} (?:one|customer|client|person|household|shopper|name|row)\b"
    r"(?: (?:on|in|of) (?:the|this|that) list)?",
    rf"(?<=the ){_NTH}(?=\W*$| (?:at risk|on (?:the|this|that) list)\b)",
    r"(?:\b(?:number|no\.?|nr\.?) ?|#)(\d{1,2})"
    r"(?=\W*$| (?:at risk|on|is|like|want|leav|about|going|might)\b)",
    r"第([一二三四五六七八九十]|\d{1,2})(?:个|位|名|号)?(?![月次周天年季步])(?:客户|顾客|人)?",
    r"(最后)一?[个位名](?:客户|顾客|人)?",
)
_GENERIC = re.compile(
    "campaign|offer|coupon|draft|discount|reminder|win-back|winback|win|back|of|and"
)
_NOUN = r"(?:campaign|draft|offer|mailing|promotion|promo|win-?back|reminder)"
_ZH_GENERIC = re.compile("活动|[高中低]?风险|召回|优惠|回馈|客户|老客|折扣|提醒|名单|推广")
_NOT_ONE = frozenset(["for", "to", "like", "a", "an", "another", "new", "similar"])
_UNKNOWN_CAMPAIGN = re.compile(
    rf"\b(?:the|our|my|that|stop|approve|submit|reject|cancel|end) ((?:[\w'-]+ ){{1,3}}?){_NOUN}\b|"
    r"(?:停掉|停止|暂停|取消|批准|通过|提交|拒绝|驳回)([\u4e00-\u9fff]{2,8})活动"
)
_DEEDS = frozenset(("stop", "approve", "submit", "reject", "preview", "edit", "open", "cancel"))
_LATIN = re.compile(r"[a-z0-9%'-]+")
_ZH_THIS = re.compile("[这那该此]|所有|当前")


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Names of saved audiences, places, campaigns and goods, and the thread's listed customers."""

    audiences: Collection[str] = ()
    places: Places | None = None
    campaigns: Mapping[str, str] = field(default_factory=dict)  # name by id
    goods: Mapping[str, tuple[str, str]] = field(default_factory=dict)  # column, value by name
    customers: Sequence[str] = ()
    persons: bool = True  # whether capitals may be a person's name


@dataclass(frozen=True, slots=True)
class ShopNames:
    """What a shop has by name. ``places`` and ``goods`` are read only for what may name one."""

    audiences: Collection[str] = ()
    places: Callable[[], Places | None] | None = None
    campaigns: Mapping[str, str] = field(default_factory=dict)  # name by id
    goods: Callable[[], Mapping[str, tuple[str, str]]] | None = None
    # Tells a person from a group in capitals, such as "Premium Plus".
    may_be_person: Callable[[str], bool] | None = None


def of_shop(services: "Services") -> ShopNames:
    """Return the names that the shop has."""
    settings, database = services.settings, services.database
    newest = (
        select(Campaign.id, Campaign.name)
        .where(Campaign.team_id == settings.team_id)
        .order_by(Campaign.created_at.desc(), Campaign.id)
        .limit(MAX_CAMPAIGNS)
    )
    with database.reading() as session:
        audiences = [each.name for each in store.saved(session)]
        campaigns = dict(session.execute(newest).tuples().all())

    def read(query: Callable[..., Any], *args: str) -> Any:
        with database.reading() as session:
            return query(session, *args)

    return ShopNames(
        audiences,
        partial(read, customer_directory.stored_places),
        campaigns,
        partial(read, customer_directory.stored_goods),
        partial(read, customer_directory.may_be_name),
    )


def find_person(text: str) -> Span | None:
    """Find a customer's name; capitals or the words around it show that it is one."""
    for match in _NAME.finditer(text):
        words, start = match[0].split(), match.start()
        if start == 0 and _is_word(words[0]):
            start += len(words[0]) + 1
            words = words[1:]
        name = " ".join(words).removesuffix("'s")
        is_name = len(words) > 1 and not any(
            word.lower() in word_list("domain") or word.lower() in (*MONTHS, *WEEKDAYS)
            for word in words
        )
        end = start + len(name)
        before, after = text[:start].lower(), text[end:].lower()
        is_name = is_name and not (_IS_GROUP.fullmatch(name) or _OF_GROUP.match(after))
        if is_name and (
            _BEFORE_NAME.search(before)
            or _AFTER_NAME.match(after)
            or (_MAYBE_NAME.search(before) and _GOES_ON.match(after))
        ):
            return name, start, end
    for pattern in (_SMALL_NAME, _ZH_NAME):
        if found := pattern.search(text):
            group = found.lastindex or 1
            name = found[group]
            if not (any(map(_is_word, name.split())) or _NO_ZH_NAME.search(name)):
                return name, *found.span(group)
    return None


def _is_word(word: str) -> bool:
    lists = (word_list(name) for name in ("domain", "other", "filler"))
    return any(word.lower() in words for words in lists)


def find_listed(low: str, customers: Sequence[str]) -> Span | None:
    """Find "the second one"; its customer is empty where the list has none there."""
    for pattern in _LISTED:
        if match := re.search(pattern, low):
            place = _place(match[1])
            known = place == -1 or 1 <= place <= len(customers)
            customer = customers[place if place < 0 else place - 1] if customers and known else ""
            return customer, *match.span()
    return None


def _place(word: str) -> int:
    if word == "最后":
        return -1
    return _ORDINALS.get(word) or number(re.sub("st|nd|rd|th", "", word))


def find_campaign(low: str, campaigns: Mapping[str, str]) -> tuple[list[str], int, int] | None:
    """Find the campaigns whose name, or a telling part of it, a sentence has."""
    spans: dict[tuple[int, int], list[str]] = {}
    for id_, name in campaigns.items():
        span = _chinese_part(low, name.lower()) or _english_part(low, name.lower())
        if span:
            spans.setdefault(span, []).append(id_)
    if not spans:
        return None
    best = max(spans, key=lambda span: span[1] - span[0])
    noun = re.compile(rf" {_NOUN}\b|活动").match(low, best[1])
    others = [span for span in spans if span[1] <= best[0] or span[0] >= best[1]]
    ids = [id_ for span in (best, *others) for id_ in spans[span]]
    return ids, best[0], noun.end() if noun else best[1]


def _english_part(low: str, name: str) -> tuple[int, int] | None:
    """Return the longest run of the name's words that can only mean the campaign."""
    words = list(_LATIN.finditer(low))
    sentence = [_plain(word[0]) for word in words]
    parts = [_plain(word) for word in _LATIN.findall(name)]
    for length in range(min(len(parts), len(words)), 0, -1):
        for at in range(len(words) - length + 1):
            run, before = sentence[at : at + length], sentence[at - 1] if at else ""
            if f" {' '.join(run)} " not in f" {' '.join(parts)} " or before in _NOT_ONE:
                continue
            end = words[at + length - 1].end()
            is_campaign = re.match(rf" {_NOUN}\b", low[end:])  # "the october campaign"
            is_name = any(_is_telling(word) and word not in MONTHS for word in run)
            is_clear = length > 1 or (length == len(parts) and before in _DEEDS)
            if (is_campaign and any(map(_is_telling, run))) or (is_name and is_clear):
                return words[at].start(), end
    return None


def _plain(word: str) -> str:
    """Return a word with a month's name shortened: campaigns are often named by a date."""
    return word[:3] if word in MONTHS else word


def _is_telling(word: str) -> bool:
    is_common = word not in MONTHS and word in word_list("filler")
    return not (_GENERIC.fullmatch(word) or is_common or re.fullmatch(r"[\d%.-]+", word))


def _chinese_part(low: str, name: str) -> tuple[int, int] | None:
    for length in range(len(name), 1, -1):
        for at in range(len(name) - length + 1):
            part = name[at : at + length]
            start = low.find(part)
            is_clear = length == len(name) or low[start + length :].startswith("活动")
            is_chinese_part = re.search("[\u4e00-\u9fff]", part) and not _ZH_GENERIC.fullmatch(part)
            if start >= 0 and is_clear and is_chinese_part:
                return start, start + length
    return None


def names_other_campaign(low: str) -> bool:
    """Return whether a sentence names a campaign that the shop does not have."""
    match = _UNKNOWN_CAMPAIGN.search(low)
    if match is None:
        return False
    if match[2]:
        return not _ZH_THIS.match(match[2])
    return any(_is_telling(word) for word in match[1].split())
