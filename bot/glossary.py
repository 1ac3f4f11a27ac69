"""The words that people read in Slack, and what they mean.

docs/crm/glossary.md shows the same table.
"""

import re

from retention.errors import BadInput
from retention.text import gettext

# Other names of a term in a sentence, in English and Chinese.
ALIASES = {
    "active customer": "active customers?|活跃客户",
    "approval": "approvals?|审批",
    "at risk": "at[- ]risk|有风险",
    "at stake": "at[- ]stake|风险金额",
    "audience": "audiences?|人群",
    "budget": "budgets?|预算",
    "churn": "churn",
    "churn risk": "churn risk|流失风险",
    "clearance time": "clearance(?: time)?|等待期",
    "consent": "consent|同意",
    "digest": "digests?|周报",
    "expected profit": "expected profit|预期利润",
    "expected spend": "expected spend(?:ing)?|预期消费",
    "hold-out group": "(?:hold-?outs?|hold out|control)(?: groups?)?|对照组|留出组",
    "inconclusive": "inconclusive|尚无定论",
    "incremental": "incremental(?: (?:orders|revenue|profit))?|增量(?:利润|收入|订单)?",
    "likely between … and …": "likely between",
    "lift": "(?:up)?lift|提升",
    "margin": "margins?|毛利",
    "policy": "policy|策略",
    "programme hold-out": "program(?:me)? hold-?out|长期对照组",
    "pseudonym": "pseudonyms?|假名|代号",
    "quiet hours": "quiet hours|免打扰时段",
    "reason": "reasons?|原因",
    "redeemed": "redeem(?:ed)?|核销|已使用",
    "risk tier": "(?:risk )?tiers?|风险等级",
    "silent for": "silent(?: for)?|沉默",
    "sweep": "sweeps?",
    "too small to measure": "too small to measure",
}


def terms() -> dict[str, tuple[str, str]]:
    """Return the term and its meaning in the reader's language, by English term."""
    return {
        "active customer": (
            gettext("active customer"),
            gettext("a customer who ordered recently, by default in the last 56 days"),
        ),
        "approval": (
            gettext("approval"),
            gettext("the decision of a person who did not write the campaign"),
        ),
        "at risk": (gettext("at risk"), gettext("an active customer with high churn risk")),
        "at stake": (gettext("at stake"), gettext("churn risk × expected spend")),
        "audience": (gettext("audience"), gettext("a group of customers; also a saved expression")),
        "budget": (gettext("budget"), gettext("the most that a campaign may cost")),
        "churn": (gettext("churn"), gettext("no order within a set time, by default 28 days")),
        "churn risk": (gettext("churn risk"), gettext("probability of churn")),
        "clearance time": (
            gettext("clearance time"),
            gettext(
                "the time between approval and sending, by default 4 hours, in which anyone can "
                "stop the campaign"
            ),
        ),
        "consent": (
            gettext("consent"),
            gettext("the customer's permission to send marketing e-mails"),
        ),
        "digest": (gettext("digest"), gettext("the weekly report in your channel")),
        "expected profit": (
            gettext("expected profit"),
            gettext("the forecast of a draft: margin of extra orders, less discounts and contacts"),
        ),
        "expected spend": (
            gettext("expected spend"),
            gettext("what a customer probably spends until the churn time ends, if they stay"),
        ),
        "hold-out group": (
            gettext("hold-out group"),
            gettext("customers of a campaign, drawn by lot, who get nothing"),
        ),
        "inconclusive": (gettext("inconclusive"), gettext("the likely range contains zero")),
        "incremental": (
            gettext("incremental"),
            gettext("additional to what happens without the offer: orders, revenue, profit"),
        ),
        "likely between … and …": (
            gettext("likely between … and …"),
            gettext("the range that contains the true value in 19 of 20 cases"),
        ),
        "lift": (
            gettext("lift"),
            gettext("how much more often customers with the offer bought, in points"),
        ),
        "margin": (gettext("margin"), gettext("the share of a price that the shop keeps")),
        "policy": (
            gettext("policy"),
            gettext("your shop's file with tiers, offers, limits and rules"),
        ),
        "programme hold-out": (
            gettext("programme hold-out"),
            gettext("customers who get no campaign at all"),
        ),
        "pseudonym": (
            gettext("pseudonym"),
            gettext("a name such as `KGQP-CA8T` in place of a customer's id"),
        ),
        "quiet hours": (
            gettext("quiet hours"),
            gettext("hours without e-mails, by default 9 pm to 8 am in the customer's time zone"),
        ),
        "reason": (
            gettext("reason"),
            gettext("what makes this customer look like others who left"),
        ),
        "redeemed": (gettext("redeemed"), gettext("used: a coupon code in an order")),
        "risk tier": (gettext("risk tier"), gettext("high, medium or low, by churn risk")),
        "silent for": (gettext("silent for"), gettext("days since the last order")),
        "sweep": (gettext("sweep"), gettext("the scoring of all active customers")),
        "too small to measure": (
            gettext("too small to measure"),
            gettext("even the largest expected effect would not stand out from chance"),
        ),
    }


def find(text: str) -> str | None:
    """Return the English term that a text names by one of its names."""
    plain = " ".join(text.lower().split())
    by_name = {name.lower(): term for term, (name, _) in terms().items()}
    return next(
        (term for term, names in ALIASES.items() if plain == term or re.fullmatch(names, plain)),
        by_name.get(plain),
    )


def explained(word: str) -> list[dict[str, str]]:
    """Return a term with its meaning, or all terms for no word."""
    known = terms()
    term = find(word) if word.strip() else None
    if term is None and word.strip():
        raise BadInput(
            gettext("The glossary has no {word!r}. It has: {terms}.").format(
                word=word, terms=", ".join(name for name, _ in known.values())
            )
        )
    chosen = known if term is None else {term: known[term]}
    return [{"term": name, "meaning": meaning} for name, meaning in chosen.values()]
