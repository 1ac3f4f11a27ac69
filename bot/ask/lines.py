"""Build the command line of an intent from a sentence's values."""

import re
from collections.abc import Collection
from datetime import date

from bot.ask import rules
from bot.ask.places import Places
from bot.ask.result import Subject
from bot.ask.values import find_values

THESE = re.compile(
    r"\b(?:these|those|them|this list|that list|the list|this cohort|these customers)\b|"
    r"这些|他们|她们|这份名单|这个名单"
)


def quoted(text: str) -> str:
    """Quote a free text for a command line."""
    return '"{}"'.format(text.replace('"', "'"))


def word_of(value: str) -> str:
    """Return a value as one word of a command line; a condition keeps its own quotes."""
    if " " not in value:
        return value
    return f"'{value}'" if '"' in value and "'" not in value else quoted(value)


class Lines:
    """The command lines that one sentence can become.

    Parameters
    ----------
    text : str
        The clean sentence.
    today : date
        The shop's day.
    subject : Subject
        What the thread is about.
    audiences : collection of str, optional
        Names of the saved audiences.
    places : Places, optional
        The shop's places.
    """

    def __init__(
        self,
        text: str,
        today: date,
        subject: Subject,
        audiences: Collection[str] = (),
        places: Places | None = None,
    ) -> None:
        self.text, self.subject = text, subject
        self.values = find_values(text, today, audiences, places)
        self.low = self.values.masked
        self.used: set[str] = set()

    def _kinds(self) -> set[str]:
        return {value.kind for value in self.values.found}

    def _take(self, kind: str) -> str | None:
        value = self.values.get(kind)
        if value is not None:
            self.used.add(kind)
        return value

    def line(self, intent: str) -> str | None:
        """Return the command line of an intent, or None if a value is missing."""
        self.used = set()
        build = {
            "sweep": self._sweep,
            "score": self._score,
            "recommend": self._recommend,
            "cohort": self._cohort,
            "forget": self._forget,
            "retrain": self._retrain,
            "role grant": self._role_grant,
            "models list": self._models_list,
            "report recommend": self._report,
            "digest schedule": self._digest_schedule,
            "campaign draft": self._draft,
            "campaign edit": self._edit,
            "campaign list": self._campaign_list,
        }.get(intent)
        if build:
            return build()
        if intent == "audience show":
            name = self._take("audience")
            if not name:
                return None
            line = f"audience show {quoted(name) if ' ' in name else name}"
            return self._options(line, where="place")
        if intent == "digest now":
            return self._options("digest now", audience="audience", where="place")
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

    def _sweep(self) -> str:
        return self._options(
            "sweep", tier="tier", top="top", as_of="day", audience="audience", where="place"
        )

    def _customer(self) -> str | None:
        return self._take("customer") or self.subject.customer

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

    def _cohort(self) -> str:
        return self._options(
            "cohort", months="months", as_of="day", audience="audience", where="place"
        )

    def _forget(self) -> str | None:
        customer = self._customer()
        return f"forget {customer}" if customer else None

    def _retrain(self) -> str:
        if re.search(r"\bchurn\b|流失", self.low):
            return "retrain churn"
        return "retrain recommend" if re.search(r"\brecommend\w*|推荐", self.low) else "retrain"

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

    def _digest_schedule(self) -> str:
        return self._options("digest schedule", day="weekday", at="time")

    def _draft(self) -> str:
        other_tier = self.values.get("tier") is not None and not THESE.search(self.low)
        if self.subject.cohort and not other_tier:
            line = f"campaign draft --cohort {self.subject.cohort}"
        else:
            line = self._options("campaign draft", tier="tier")
        return self._options(
            line,
            name="name",
            discount="percent",
            budget="money",
            holdout="holdout",
            audience="audience",
            where="place",
        )

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
        return f"{intent} {campaign} --reason {quoted(reason)}" if reason else None

    def _reason_after_comma(self) -> str | None:
        """Return "券错了" of "活动停了吧，券错了"."""
        _, comma, reason = self.text.partition(",")
        reason = reason.strip(" .!。！")
        is_plain = comma and reason and not re.search("[\ue000-\ue013]|thank|please|谢", reason)
        return reason if is_plain and len(reason) > 2 else None

    def _edit(self) -> str | None:
        campaign = self._take("campaign") or self.subject.campaign
        if not campaign:
            return None
        is_holdout = re.search(r"\bhold-?out\b|\bcontrol\b|对照", self.low)
        share = (
            {"holdout": "percent"}
            if is_holdout and "holdout" not in self._kinds()
            else {
                "discount": "percent",
                "holdout": "holdout",
            }
        )
        line = self._options(
            f"campaign edit {campaign}",
            name="name",
            **share,
            budget="money",
            expires="days",
        )
        return line if " --" in line else None
