"""Turn a sentence into a command line of the desk's command tree."""

import re
from dataclasses import replace
from datetime import date, timedelta

from bot.ask import places as place_names
from bot.ask import rules
from bot.ask.dates import months_back
from bot.ask.figures import find_conditions, find_period
from bot.ask.lines import THESE, Lines, word_of
from bot.ask.parts import PICKING, unused_parts
from bot.ask.references import ShopNames, Vocabulary, names_other_campaign
from bot.ask.result import CHANGING, Subject, Understanding, changes, path_of
from bot.ask.sentence import clean, correct, is_chinese
from bot.ask.similar import NONE, examples
from bot.ask.values import MARKS
from bot.commands.parsing import parse, split_words
from bot.slack import glossary
from retention.errors import Refused

SIMILAR = 0.55  # least cosine of a sentence that no rule matches; chosen on the tune half
SUGGESTED = 0.18  # least cosine of an alternative
MAX_ALTERNATIVES = 3

_USUAL = ("help", "sweep", "digest now")  # alternatives to a sentence that is like no example
_PREFIX = re.compile(r"^/?retention\s+")
_PRONOUN = re.compile(r"\b(?:it|this|that|they|them|he|she|his|her|their)\b|它|他|她|这个?")
_THIS_CUSTOMER = re.compile(
    r"\b(?:they|them|he|she|him|her|this (?:customer|household|client)|it)\b|他|她|这个客户|"
    r"该客户|^为什么|^why\b"
)
_FOLLOW_UP = re.compile(
    r"(?:\b(?:and|or|what|about|how|but|only|just|show|me|please|pls|for|then|also|now|the|those|"
    r"these|them|it|was|who|whom|which|is|are|were|a|as|of|at|ones|one|see|give|list|too|well|same|"
    r"in|on|again|customers?|list|ok|so|with)\b|那么?|呢|哪些|哪个|谁|其中|他们|她们|里面?|中|最|"
    r"只|看|的|个|就行|客户|和|是|情况|再|也|[\s,.!?，。！？、])+"
)
# Words that belong to a list's intent without narrowing it.
_HEADS = {
    "campaign draft": f"{rules.RISK}|{rules.DRAFT_WORDS}|{THESE.pattern}",
    "campaign edit": (
        rf"{rules.EDIT}|\b(?:hold-?out|budgets?|discounts?|coupons?|codes?|name|days)\b|"
        r"折扣|预算|对照组?|有效期|名称"
    ),
    "campaign result": r"\b(?:subjects?(?: lines?)?|variants?|versions?)\b|标题|主题|文案|版本",
    "sweep": rf"{rules.RISK}|\bsweep\b",
    "customers": (
        rf"{rules.BEST}|{rules.HOW_MANY}|{rules.NEWEST}|{rules.MOST_ORDERS}|\blives?\b|消费|花钱"
    ),
    "models rollback": r"之前|以前|原来|上一?[个版]|旧|流失|推荐|模型|版本",
    "sales": rf"{rules.SOLD}|\b(?:sell|sold|orders?|came|come|turn(?:ed)? over)\b|销售额?|订单",
    "campaign list": rf"{rules.STATE_WORDS}|\b(?:campaigns?|pipeline|funnel|approval)\b|活动",
}
_BARE_DEED = re.compile(
    r"(?<!\bto )\b(?:approve|reject|submit|stop|erase|cancel|halt|pause|kill)\b|"
    r"(?<!不)批准|停[止掉]|暂停"
)
ABOUT_ONE_CAMPAIGN = frozenset(
    f"campaign {deed}"
    for deed in ("approve", "edit", "preview", "reject", "result", "show", "stop", "submit")
)
SCHEDULED = frozenset({"sweep", "data show", "retrain", "report recommend", "report programme"})
_DELIVER = (
    r"\b(?:send|post|run|get|give|share|show|e-?mail|schedule|check|update|need|want|list|"
    r"retrain|pull)\b|"
    r"[发送给跑]|更新|检查|运行|推送|列出|训练|看"
)
_MAY_NAME_GOODS = re.compile(
    r"\b(?:bought|buy|buys|buyers|purchased|order|orders|ordered|looked|viewed|browsed)\b|"
    r"买|浏览|看过",
    re.IGNORECASE,
)
_NO_FIGURES = (
    rf"{rules.RISK}|{rules.DRAFT}|\b(?:recommend\w*|campaigns?|hold-?out|incremental|audience|"
    rf"model|"
    r"churn|retention|cohorts?|stay|come back|came back)\b|推荐|活动|留存|模型"
)
_BEFORE = (
    r"\b(?:the )?(?:(?:week|day|month|year|period|one) before(?: (?:that|this|it))?|"
    r"previous (?:one|period))\b|"
    r"(?:再)?[前上]一(?:周|天|个?月|个?星期)|再(?:上|前)(?:周|个月|天)"
)
# Questions about a word; the group is the word.
_MEANING = tuple(
    re.compile(pattern)
    for pattern in (
        r"(?:[a-z ,]*\b)?what (?:does|do) (?:an? |the )?(?:word |term )?(.+?)(?: here)? (?:mean|"
        r"stand for)(?: here)?",
        r"(?:[a-z ,]*\b)?what(?:'s| is) meant by (?:an? |the )?(.+)",
        r"what do(?:es)? (?:you|it|they) mean (?:by|with) (?:an? |the )?(.+)",
        r"(?:so |and )?what(?:'?s| is| are) (?:an? )?(?:the (?=hold|clear|quiet|"
        r"programme))?(.+?)(?: here| exactly)?",
        r"(?:please |can you |could you )*(?:define|explain)(?: me)? (?:an? |the )?(?:word |"
        r"term )?(.+?)(?: to me| for me)?(?:,? please| pls)?",
        r"(?:what(?:'?s| is) )?(?:the )?(?:meaning|definition) of (?:an? |the )?(.+)",
        r"(.+?)(?: ?[-,:?.])? ?what(?:'s| is| are| does)? (?:that|those|these|it|this)(?: mean)?",
        r"(?:what|not sure what) (.+?) means?",
        r"i (?:don't|do not) (?:understand|get|know)(?: what)?(?: an?| the)? (.+?)(?: is| are|"
        r" means?)?(?:, (?:what is (?:it|that)|help))?",
        r"(?:请?解释(?:一下|下)?|什么[是叫])(.+?)",
        r"[“\"']?(.+?)[”\"']?(?:是指?|指的?是?|到底是|代表|表示)?什么(?:意思|东西|含义)?",
        r"(.+?)(?:怎么|如何)理解",
        r"(?:怎么|如何)理解(.+)",
        r"(.+?)的?(?:意思|含义|定义)(?:是什么)?",
    )
)
_DEFINED = frozenset({"churn", "at risk"})  # `definition show` says more
_DEEDS = (
    (r"\bdraft\w*|起草|召回", "campaign draft"),
    (rules.APPROVE + r"|\bapproved\b", "campaign approve"),
    (rules.REJECT + r"|\brejected\b", "campaign reject"),
    (rules.SUBMIT + r"|\bsubmitted\b", "campaign submit"),
    (r"\bpreview\b", "campaign preview"),
    (r"\bstop(?:ping|ped)?\b|停", "campaign stop"),
    (r"\bedit\w*|修改", "campaign edit"),
    (r"\bre-?train\w*|训练", "retrain"),
    (r"\berase\b|\bforget\b|删除", "forget"),
    (r"\bsweep\b", "sweep"),
    (r"\bscore\b", "score"),
    (r"\brecommend\w*|推荐", "recommend"),
    (r"\bdigests?\b|周报", "digest"),
    (r"\bcohorts?\b", "cohort"),
)


def understand(
    sentence: str, today: date, subject: Subject | None = None, shop: ShopNames | None = None
) -> Understanding:
    """Find the command that a sentence asks for.

    Without a command if it asks for none, or for one that the tree refuses.
    """
    text = clean(sentence)
    if not text:
        return Understanding()
    if typed := _typed(text):
        return _checked(typed, 1.0, (), ())
    text = correct(text)
    subject, shop = subject or Subject(), shop or ShopNames()
    known = place_names.known(text, shop.places)
    goods = shop.goods() if shop.goods and _MAY_NAME_GOODS.search(text) else {}
    vocabulary = Vocabulary(shop.audiences, known, shop.campaigns, goods, subject.customers)
    reader = _Reader(text, today, subject, vocabulary)
    understanding = reader.understand()
    name = reader.values.get("customer") or ""
    is_reading = understanding.command is not None and not understanding.changes
    if is_reading and " " in name and shop.may_be_person and not shop.may_be_person(name):
        without = _Reader(text, today, subject, replace(vocabulary, persons=False)).understand()
        understanding = without if without.command and not without.changes else understanding
    gap = place_names.gap(text, understanding.unused, known)
    return replace(understanding, place_gap=gap)


def _typed(text: str) -> str | None:
    """Return the sentence itself if it is a command line."""
    line = _PREFIX.sub("", text)
    if line == text and " --" not in text:
        return None
    try:
        parse(line)
    except Refused:
        return None
    return line


def _checked(
    line: str, confidence: float, unused: tuple[str, ...], alternatives: tuple[str, ...]
) -> Understanding:
    """Validate a line with the command tree."""
    try:
        does_change = changes(line)
    except Refused:
        return Understanding(alternatives=alternatives)
    return Understanding(line, does_change, confidence, unused, alternatives)


class _Reader(Lines):
    """One sentence being read."""

    def __init__(self, text: str, today: date, subject: Subject, vocabulary: Vocabulary) -> None:
        super().__init__(text, today, subject, vocabulary)
        self.moods = rules.moods_of(self.low)

    # ------------------------------------------------------------ which command

    def understand(self) -> Understanding:
        """Return the command, or the alternatives."""
        if term := self._term():
            return _checked(f"glossary {word_of(term)}", 0.9, (), ())
        if line := self._help():
            return _checked(line, 0.9, (), ())
        if line := self._follow_up():
            return _checked(line, 0.85, (), ())
        if self.values.get("listed") is not None:
            return Understanding(alternatives=self._alternatives(None))
        match = rules.match_rules(self.values, self._has())
        intent, confidence = (match.intent, 0.9) if match else self._similar()
        intent = self._figures(intent) or intent
        inner = intent if intent in SCHEDULED and self._is_regular() else None
        intent = "schedule add" if inner else intent
        settled = self._settle(intent) if intent else None
        if (ids := self.values.get("campaigns")) and settled in ABOUT_ONE_CAMPAIGN:
            return Understanding(alternatives=self._for_each(str(settled), ids.split()))
        line = self.line(inner or settled) if settled else None
        if inner and settled and line:
            line = self.scheduled(line)
        if settled is None or line is None:
            refused = intent if intent in CHANGING else None
            return Understanding(alternatives=self._alternatives(settled or refused))
        spans = match.spans if match else ()
        is_rule = bool(match)
        unused = () if settled != intent else self._unused(inner or settled, spans, is_rule=is_rule)
        if unused:
            confidence -= 0.2
        return _checked(line, confidence, unused, ())

    def _has(self) -> frozenset[str]:
        """Return the kinds of values that the sentence or its thread provides."""
        has = {value.kind for value in self.values.found}
        words = len(self.text) // 4 if is_chinese(self.text) else len(self.text.split())
        is_short = words <= 7 or _PRONOUN.search(self.low) is not None
        if has & {"campaigns"} or (
            self.subject.campaign
            and is_short
            and not has & {"customer", "campaign"}
            and not names_other_campaign(self.low)
        ):
            has.add("campaign")
        if (self.subject.command or "").startswith("models"):
            has.add("models")
        if (
            self.subject.customer
            and not has & {"customer", "campaign"}
            and (_THIS_CUSTOMER.search(self.low) or self._is_bare())
        ):
            has.add("customer")
        has |= {f"no {kind}" for kind in ("customer", "campaign") if kind not in has}
        return frozenset(has)

    def _is_bare(self) -> bool:
        """Return whether the sentence names no other object than the thread's."""
        return len(self.text.split()) <= 3 and not is_chinese(self.text)

    def _for_each(self, intent: str, campaigns: list[str]) -> tuple[str, ...]:
        """Return the command for each campaign that a name may mean."""
        subject, lines = self.subject, []
        for campaign in campaigns[:MAX_ALTERNATIVES]:
            self.subject = replace(subject, campaign=campaign)
            lines.append(self.line(intent))
        self.subject = subject
        return tuple(line for line in lines if line)

    def _term(self) -> str | None:
        """Return the word of the glossary that a sentence asks about."""
        low = self.text.lower().strip(" ?!.。？！")
        for pattern in _MEANING:
            match = re.fullmatch(pattern, low)
            if match and (term := glossary.find(match[1].strip(" \"'“”"))):
                is_reason = term == "reason" and self.subject.customer
                return None if is_reason or term in _DEFINED else term
        return None

    def _figures(self, intent: str | None) -> str | None:
        """Return the command for a question about customers or sales, whatever their risk."""
        low, kinds = self.low, self._kinds()
        if intent not in {
            None,
            "sweep",
            "digest now",
            "cohort",
            "campaign list",
            "report recommend",
        }:
            return None
        if kinds & {"customer", "campaign", "job", "tier"} or re.search(_NO_FIGURES, low):
            return None
        about = rf"{rules.CUSTOMERS}|\bwho\b|\bwhich\b|谁|哪些"
        if re.search(about, low) and find_conditions(self.text.lower(), self.vocabulary.goods):
            return "customers"
        patterns = (rules.HOW_MANY, rules.BEST, rules.NEWEST, rules.MOST_ORDERS)
        period = find_period(self.text.lower(), self.today)
        if period is None and re.search(rules.NEWEST, self.text.lower()):
            return "customers"
        if re.search(r"\bnew (?:customers|clients|buyers)\b", low) or re.search(rules.SOLD, low):
            return "sales" if period or intent is None else None
        if any(re.search(pattern, self.text.lower()) for pattern in patterns):
            return "customers"
        return None

    def _is_regular(self) -> bool:
        """Return whether a sentence asks for a list again and again."""
        has_day = self._kinds() & {"weekday", "monthday"}
        is_request = re.search(_DELIVER, self.low) or self.values.get("time")
        repeats = re.search(r"\b(?:every|each|daily|monthly|[a-z]+days)\b|每", self.text.lower())
        return bool(has_day and is_request and repeats)

    def _help(self) -> str | None:
        """Return the help that a question about a deed asks for."""
        if not self.moods & {"how", "what_if", "may_they"} or "negated" in self.moods:
            return None
        if re.search(r"\bchurn\b.*\bmean|\bwhat (?:can|happened|has)\b|\bhow long\b", self.low):
            return None
        for pattern, path in _DEEDS:
            if re.search(pattern, self.low):
                return f"help {path}"
        return None

    def _follow_up(self) -> str | None:
        """Return the thread's last command with the values of an elliptic question."""
        base, found = self.subject.command, self.values.found
        if self.subject.customer and re.fullmatch(
            r"(?:but |and )?why\W*|(?:那)?为(?:什么|啥)\W*", self.low
        ):
            return f"score {self.subject.customer}"
        if base is None:
            return None
        if base.startswith("sales") and (line := self._sales_again(base)):
            return line
        rest = re.sub("[\ue000-\ue01f]+", " ", self.low)
        if base.startswith("campaign list") and (state := rules.find_state(rest)):
            return f"campaign list --state {state}"
        if base.startswith("recommend ") and re.search(r"\bnew\b|新品", rest) and not found:
            return f"{_joined(*_split(base))} --policy new"
        spends = base.startswith("sweep") and re.search(rules.SPEND_MOST, rest)
        if spends:
            rest = re.sub(rules.SPEND_MOST, " ", rest)
        if not (found or spends) or (rest.strip() and not _FOLLOW_UP.fullmatch(rest)):
            return None
        kinds = {value.kind for value in found}
        path, options = _split(base)
        allowed = {
            "sweep": {"tier", "top", "day", "place"},
            "score": {"customer", "day"},
            "recommend": {"customer", "day", "count", "top"},
            "cohort": {"months", "day", "place"},
            "customers": {"top", "place"},
        }.get(path, set())
        if not kinds <= allowed:
            return None
        if spends:
            options["--order"] = "spend"
        names = {"customer": "CUSTOMER", "tier": "--tier", "day": "--as-of", "count": "--k"}
        names |= {"place": "--where", "months": "--months"}
        names["top"] = "--k" if path == "recommend" else "--top"
        return _joined(path, options | {names[value.kind]: value.value for value in found})

    def _sales_again(self, base: str) -> str | None:
        """Return the thread's sales for other days."""
        raw, (path, options) = self.text.lower(), _split(base)
        days = [options.get("--from"), options.get("--to")]
        if (before := re.search(_BEFORE, raw)) and days[0] and days[1]:
            first, last = (date.fromisoformat(day) for day in days if day)
            back = last - first + timedelta(days=1)
            is_month = first.day == 1 and (last + timedelta(days=1)).day == 1
            start = months_back(1, first) if is_month else first - back
            first, last, span = start, first - timedelta(days=1), before.span()
        elif period := find_period(raw, self.today):
            first, last, span = period[0], period[1], (period[2], period[3])
        else:
            return None
        rest = (raw[: span[0]] + " " + raw[span[1] :]).strip()
        if rest and not _FOLLOW_UP.fullmatch(rest):
            return None
        return _joined(path, options | {"--from": str(first), "--to": str(last)})

    def _similar(self) -> tuple[str | None, float]:
        ranked = examples().rank(self.text)
        intent, score = ranked[0]
        if intent == NONE or score < SIMILAR or intent in CHANGING:
            return None, score
        return intent, min(score, 0.8)

    def _alternatives(self, intent: str | None) -> tuple[str, ...]:
        """Return the nearest commands that need nothing more, with help as the last resort."""
        lines = self._about_subject() if intent is None else []
        stops_training = re.search(rules.STOP_TRAINING, self.low) is not None
        lines += ["jobs list"] if stops_training else []  # it has the button that cancels
        is_deed = _BARE_DEED.search(self.low) is not None  # of a campaign that is not clear
        if is_deed and not stops_training:
            lines += [line for line in ("campaign list",) if line not in lines]
        excluded = {NONE, intent}
        excluded |= {"campaign draft"} if is_deed else set()
        excluded |= {"retrain"} if stops_training else set()
        for other, score in examples().rank(self.text):
            if other in excluded or score < SUGGESTED or len(lines) >= MAX_ALTERNATIVES:
                continue
            try:
                line = self.line(other)
                if line is not None and path_of(line) == other and line not in lines:
                    lines.append(line)
            except Refused:
                continue
        lines += [line for line in _USUAL if line not in lines]
        return tuple(lines[:MAX_ALTERNATIVES])

    def _about_subject(self) -> list[str]:
        """Return the usual commands about the thread's subject."""
        subject = self.subject
        if subject.campaign:
            return [f"campaign result {subject.campaign}", f"campaign show {subject.campaign}"]
        if subject.customer:
            return [f"score {subject.customer}", f"recommend {subject.customer}"]
        return [f"campaign draft --cohort {subject.cohort}"] if subject.cohort else []

    def _settle(self, intent: str) -> str | None:
        """Return the intent after a look at the sentence's mood."""
        moods, low = self.moods, self.low
        if intent not in CHANGING:
            return self._settle_reading(intent)
        if intent == "campaign stop" and not moods & {"should", "asks"}:
            head = re.split(r"[,，]|\bbecause\b|因为|\ue00f", low)[0].strip()
            is_plain = any(re.fullmatch(rules.PLAIN_STOP, part) for part in (head, low.strip()))
            if "campaign" not in self._kinds() and not is_plain:
                return None
        if "negated" in moods or (intent != "models rollback" and re.search(r"\bundo\b|撤销", low)):
            return None
        is_past = re.search(rules.PAST.get(intent, r"(?!)"), low) is not None
        if "should" in moods:
            return {
                "campaign stop": "campaign result",
                "campaign draft": "sweep",
                "retrain": "models check",
                "models rollback": "models check",
                "forget": None,
                "role grant": "role list",
            }.get(intent, "campaign show" if intent.startswith("campaign ") else None)
        if moods & {"asks", "may_i"}:
            return self._asked(intent)
        if moods & {"reported", "conditional"} or is_past:
            return None
        return intent

    def _asked(self, intent: str) -> str | None:
        """Return what answers a question about a change: who did it, when, why."""
        if intent == "campaign draft":
            return "campaign list"
        if intent.startswith("campaign "):
            return "campaign show"
        return {
            "retrain": "models list",
            "role grant": "role list",
            "digest schedule": "digest list",
            "digest off": "digest list",
            "schedule add": "schedule list",
            "models rollback": "models list",
        }.get(intent)

    def _settle_reading(self, intent: str) -> str | None:
        moods = self.moods
        if re.search(rules.UNSUPPORTED, self.low):
            return None
        if intent == "campaign list" and _BARE_DEED.search(self.low) and "asks" not in moods:
            return None  # "approve all drafts" names no campaign
        is_refused = "negated" in moods and intent in ("sweep", "score", "recommend", "digest now")
        if is_refused and re.match(
            r"(?:please )?(?:don'?t|do not|never|no need)|不要|别|不用", self.low
        ):
            return None
        if intent == "campaign show" and not self._names_campaign():
            return None
        if intent == "campaign list" and "asks" in moods and "might" in self.low:
            return None
        return intent

    def _names_campaign(self) -> bool:
        """Return whether a bare remark in a campaign's thread asks for the campaign."""
        if self.values.get("campaign"):
            is_report = "reported" in self.moods and "asks" not in self.moods
            return not is_report and "negated" not in self.moods
        return (
            "asks" in self.moods
            or re.search(r"\b(?:show|open|see|status|where)\b", self.low) is not None
        )

    # ------------------------------------------------------------ what is not used

    def _unused(
        self, intent: str, spans: tuple[tuple[int, int], ...], *, is_rule: bool
    ) -> tuple[str, ...]:
        implied = {"digest now": {"day", "days"}, "campaign list": {"tier"}}.get(intent, set())
        # The gaps inside a rule's match may hold a constraint, so lists count words only.
        explained = [] if intent in PICKING and intent in _HEADS else list(spans)
        settled = self.used | implied | {"reason"}
        explained += [
            (value.start, value.end) for value in self.values.found if value.kind in settled
        ]
        heads = _HEADS.get(intent, r"(?!)")
        if settled & {"weekday", "monthday"}:
            heads += f"|{_DELIVER}"
        explained += [found.span() for found in re.finditer(heads, self.low)]
        explained += self.used_spans
        if not explained and not is_rule:
            return ()
        parts = unused_parts(self.text, self.values, tuple(explained), intent)
        for value in self.values.found:  # none is lost, wherever it stands
            words = self.text[value.start : value.end].strip()
            if value.kind not in settled and not any(words in part for part in parts):
                parts = (*parts, words)
        if intent == "campaign draft":
            only_drafts = re.search(rules.DRAFTING, self.low)
            at_once = r"(?!)" if only_drafts else rules.AT_ONCE
            everyone = r"(?!)" if rules.find_kind(self.low) else rules.EVERYONE
            for pattern in (everyone, at_once, rules.VARIANTS):
                runs = [self.text[slice(*found.span())] for found in re.finditer(pattern, self.low)]
                parts = (*parts, *(each for each in runs if not any(each in p for p in parts)))
        deeds = self._other_deeds(intent)
        return (*parts, *(deed for deed in deeds if not any(deed in part for part in parts)))

    def _other_deeds(self, intent: str) -> tuple[str, ...]:
        """Return the verbs of further changes, which one command cannot do."""
        if intent not in CHANGING or not intent.startswith("campaign "):
            return ()
        rest = "".join(" " if letter in MARKS.values() else letter for letter in self.low)
        return tuple(
            found[0]
            for pattern, path in _DEEDS
            if path in CHANGING
            and path not in (intent, "campaign draft", "campaign edit")
            and (found := re.search(pattern, rest))
        )


def _split(line: str) -> tuple[str, dict[str, str]]:
    """Split a command line into its path and its options."""
    words = split_words(line)
    path, at = words[0], 1
    options: dict[str, str] = {}
    while at < len(words):
        if words[at].startswith("--") and at + 1 < len(words):
            options[words[at]] = words[at + 1]
            at += 2
        else:
            options.setdefault("CUSTOMER", words[at])
            at += 1
    return path, options


def _joined(path: str, options: dict[str, str]) -> str:
    parts = [path]
    if customer := options.get("CUSTOMER"):
        parts.append(word_of(customer))
    order = (
        *("--from", "--to", "--tier", "--top", "--k", "--policy", "--months", "--as-of"),
        *("--audience", "--where", "--order"),
    )
    parts += [f"{name} {word_of(options[name])}" for name in order if name in options]
    return " ".join(parts)
