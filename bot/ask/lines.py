"""Build the command line of an intent from a sentence's values."""

import re
from datetime import date

from bot.ask import rules
from bot.ask.figures import find_conditions, find_period
from bot.ask.references import Vocabulary
from bot.ask.result import Subject
from bot.ask.sentence import is_chinese
from bot.ask.values import find_values

THESE = re.compile(
    r"\b(?:these|those|them|this list|that list|the list|this cohort|these customers)\b|"
    r"这些|他们|她们|这份名单|这个名单"
)

_SCOPE = {"audience": "audience", "where": "place"}
_TERMS = {"name": "name", "discount": "percent", "budget": "money", "holdout": "holdout"}
# The kinds of values of a command's options, by its path.
_PLAIN = {
    "sweep": {"tier": "tier", "top": "top", "as_of": "day", **_SCOPE},
    "cohort": {"months": "months", "as_of": "day", **_SCOPE},
    "digest now": _SCOPE,
    "digest schedule": {"day": "weekday", "at": "time", "timezone": "zone"},
}


def quoted(text: str) -> str:
    """Quote a free text for a command line."""
    return '"{}"'.format(text.replace('"', "'"))


def word_of(value: str) -> str:
    """Return a value as one word of a command line; a condition keeps its own quotes."""
    if " " not in value:
        return value
    return f"'{value}'" if '"' in value and "'" not in value else quoted(value)


class Lines:
    """The command lines that one sentence can become."""

    def __init__(self, text: str, today: date, subject: Subject, vocabulary: Vocabulary) -> None:
        self.text, self.today, self.subject, self.vocabulary = text, today, subject, vocabulary
        path = (subject.command or "").partition(" ")[0]
        in_list = path in ("", "sweep", "customers") or bool(vocabulary.customers)
        self.values = find_values(text, today, vocabulary, in_list=in_list)
        self.low = self.values.masked
        self.used: set[str] = set()
        self.used_spans: list[tuple[int, int]] = []  # of what is no value

    def _kinds(self) -> set[str]:
        return {value.kind for value in self.values.found}

    def _take(self, kind: str) -> str | None:
        value = self.values.get(kind)
        if value is not None:
            self.used.add(kind)
        return value

    def line(self, intent: str) -> str | None:
        """Return the command line of an intent, or None if a value is missing."""
        self.used, self.used_spans = set(), []
        build = {
            "score": self._score,
            "recommend": self._recommend,
            "forget": self._forget,
            "retrain": self._retrain,
            "role grant": self._role_grant,
            "models list": self._models_list,
            "report recommend": self._report,
            "campaign draft": self._draft,
            "campaign edit": self._edit,
            "campaign list": self._campaign_list,
            "customers": self._customers,
            "sales": self._sales,
            "models rollback": self._rollback,
        }.get(intent)
        if build:
            return build()
        if intent == "audience show":
            name = self._take("audience")
            if not name:
                return None
            line = f"audience show {quoted(name) if ' ' in name else name}"
            return self._options(line, where="place")
        if options := _PLAIN.get(intent):
            return self._options(intent, **options)
        if intent in ("jobs cancel", "jobs retry"):
            job = self._take("job")
            return f"{intent} {job}" if job else None
        if intent.startswith("campaign ") and intent != "campaign my-calls":
            return self._about_campaign(intent)
        return intent

    def _options(self, path: str, **kinds: str) -> str:
        """Return a path with the options that the sentence has values for."""
        parts = [path]
        for option, kind in kinds.items():
            value = self._take(kind)
            if value is not None:
                parts.append(f"--{option.replace('_', '-')} {word_of(value)}")
        return " ".join(parts)

    def _customers(self) -> str:
        raw = self.text.lower()
        line = self._options("customers", top="top", audience="audience") + self._where()
        if re.search(rules.MOST_ORDERS, raw):
            return f"{line} --order orders"
        return f"{line} --order newest" if re.search(rules.NEWEST, raw) else line

    def _where(self) -> str:
        """Return the option of the conditions and the place, or nothing."""
        low = self.text.lower()
        for words in rules.KINDS.values():  # a "second order" is no order of something
            low = re.sub(words, lambda found: " " * len(found[0]), low)
        spans = find_conditions(low, self.vocabulary.goods)
        self.used_spans += [(start, end) for _, start, end in spans]
        self.used |= {"days", "months", "money"} if spans else set()
        conditions = [condition for condition, *_ in spans if condition]
        if place := self._take("place"):
            conditions.insert(0, f"({place})" if " or " in place else place)
        return f" --where {word_of(' and '.join(conditions))}" if conditions else ""

    def _sales(self) -> str:
        line = "sales"
        if period := find_period(self.text.lower(), self.today):
            first, last, *span = period
            line = f"sales --from {first} --to {last}"
            self.used_spans.append((span[0], span[1]))
            self.used |= {"day", "days", "months", "top", "weekday"}
        return self._options(line, audience="audience", where="place")

    def _customer(self) -> str | None:
        customer = self._take("customer") or self.subject.customer
        return customer and word_of(customer)

    def _score(self) -> str | None:
        customer = self._customer()
        return self._options(f"score {customer}", as_of="day") if customer else None

    def _recommend(self) -> str | None:
        customer = self._customer()
        if not customer:
            return None
        line = self._options(f"recommend {customer}", k="count")
        if "--k" not in line:
            line = self._options(f"recommend {customer}", k="top")
        if re.search(r"\b(?:new|never bought)\b|新品|没买过", self.low):
            line += " --policy new"
        elif re.search(r"\b(?:again|repeat|re-?order)\b|复购|回购", self.low):
            line += " --policy repeat"
        return self._options(line, as_of="day")

    def _forget(self) -> str | None:
        value = next((value for value in self.values.found if value.kind == "customer"), None)
        if value and not re.search(r"\b(?:erase|delete|remove)\b|删|抹", self.low):
            typed = self.text[value.start : value.end]
            if value.value != typed or not re.search(r"[\d@]", typed):
                return None  # "forget the second one" means: never mind
        customer = self._customer()
        return f"forget {customer}" if customer else None

    def _retrain(self) -> str:
        if re.search(r"\bchurn\b|流失", self.low):
            return "retrain churn"
        return "retrain recommend" if re.search(r"\brecommend\w*|推荐", self.low) else "retrain"

    def _rollback(self) -> str:
        about = f"{self.low} {self.subject.command or ''}"
        kind = re.search(r"\bchurn\b|流失|\brecommend|推荐", about)
        if not kind:
            return "models rollback"
        return f"models rollback {'churn' if kind[0] in ('churn', '流失') else 'recommend'}"

    def _role_grant(self) -> str | None:
        person = self._take("person")
        role = re.search(r"\b(viewer|analyst|approver|admin)\b", self.low)
        names = {"分析师": "analyst", "审批人": "approver", "管理员": "admin"}
        chosen = role[1] if role else next((names[n] for n in names if n in self.low), None)
        return f"role grant {person} {chosen}" if person and chosen else None

    def _models_list(self) -> str:
        kind = re.search(r"\b(churn|recommend)\w*", self.low)
        return f"models list --kind {kind[1]}" if kind else "models list"

    def _report(self) -> str:
        days = self._take("days")
        return self._options(
            f"report recommend --days {days}d" if days else "report recommend", as_of="day"
        )

    def scheduled(self, inner: str) -> str:
        """Return the line that runs a command regularly."""
        day = self._take("monthday") or self._take("weekday") or "daily"
        short = day if day == "daily" or not day.endswith("day") or "-" in day else day[:3]
        every = f"{short} {self._take('time') or '09:00'}"
        return self._options(f"schedule add {word_of(inner)} --every {quoted(every)}", zone="zone")

    def _draft(self) -> str:
        if kind := rules.find_kind(self.low):
            return self._draft_of_kind(kind)
        other_tier = self.values.get("tier") is not None and not THESE.search(self.low)
        if self.subject.cohort and not other_tier:
            line = f"campaign draft --cohort {self.subject.cohort}"
        else:
            line = self._options("campaign draft", tier="tier")
        return self._options(line, **_TERMS, **_SCOPE, channel="channel")

    def _draft_of_kind(self, kind: str) -> str:
        """Return the draft of a campaign for an audience, at risk or not."""
        for pattern in (*rules.KINDS.values(), rules.TO_WHOM):
            self.used_spans += [found.span() for found in re.finditer(pattern, self.low)]
        line = f"campaign draft --kind {kind}"
        line = self._options(line, tier="tier", **_TERMS, audience="audience") + self._where()
        return self._options(line, channel="channel")

    def _campaign_list(self) -> str:
        state = rules.find_state(self.low)
        return f"campaign list --state {state}" if state else "campaign list"

    def _about_campaign(self, intent: str) -> str | None:
        campaign = self._take("campaign") or self.subject.campaign
        if not campaign:
            return None
        if intent not in ("campaign reject", "campaign stop"):
            return f"{intent} {campaign}"
        reason = self._take("reason") or self._reason_after_comma()
        if not reason and intent == "campaign stop":
            reason = "未说明原因" if is_chinese(self.text) else "no reason given"
        return f"{intent} {campaign} --reason {quoted(reason)}" if reason else None

    def _reason_after_comma(self) -> str | None:
        """Return "券错了" of "活动停了吧，券错了"."""
        head, comma, reason = self.text.partition(",")
        if not re.search(f"{rules.STOP}|{rules.REJECT}", self.low[: len(head)]):
            return None  # "ok, stop it"
        reason = reason.strip(" .!。！")
        is_plain = comma and reason and not re.search("[\ue000-\ue01f]|thank|please|谢", reason)
        if not is_plain or len(reason) < 3:
            return None
        self.used_spans.append((self.text.index(reason), len(self.text)))
        return reason

    def _edit(self) -> str | None:
        campaign = self._take("campaign") or self.subject.campaign
        if not campaign:
            return None
        is_holdout = re.search(r"\bhold-?out\b|\bcontrol\b|对照", self.low)
        if is_holdout and "holdout" not in self._kinds():
            share = {"holdout": "percent"}
        else:
            share = {"discount": "percent", "holdout": "holdout"}
        line = self._options(
            f"campaign edit {campaign}", name="name", **share, budget="money", expires="days"
        )
        return line if " --" in line else None
