"""The words that people read in Slack, with their other names.

templates/glossary.j2 says what they mean.
"""

import re

from retention.errors import BadInput
from retention.text import gettext

# Names of each term in a sentence, in English and Chinese.
ALIASES = {
    "active customer": "active customers?|活跃客户",
    "approval": "approvals?|审批",
    "at risk": "at[- ]risk|可能流失|有风险",
    "at stake": "at[- ]stake|涉及金额|风险金额",
    "audience": "audiences?|人群",
    "budget": "budgets?|预算",
    "churn": "churn|流失",
    "churn risk": "churn risk|流失风险",
    "clearance time": "clearance(?: time)?|等待期",
    "consent": "consent|营销许可|同意",
    "digest": "digests?|周报|摘要",
    "expected profit": "expected profit|预期利润",
    "expected spend": "expected spend(?:ing)?|预期消费",
    "hold-out group": "(?:hold-?outs?|hold out|control)(?: groups?)?|对照组|留出组",
    "inconclusive": "inconclusive|尚无定论",
    "incremental": "incremental(?: (?:orders?|sales|revenue|profit))?|增量(?:利润|收入|订单)?",
    "lapsed": "lapsed(?: customers?)?|已流失",
    "likely between … and …": "likely between",
    "lift": "(?:up)?lift|提升",
    "margin": "margins?|毛利率?",
    "policy": "policy|策略",
    "programme hold-out": "program(?:me)? hold-?out|整体对照组|长期对照组",
    "pseudonym": "pseudonyms?|化名|假名|代号",
    "quiet hours": "quiet hours|免打扰时段",
    "reason": "reasons?|原因",
    "redeemed": "redeem(?:ed)?|核销|用券|已使用",
    "risk tier": "(?:risk )?tiers?|风险等级",
    "silent for": "silent(?: for)?|未下单时长|沉默",
    "sweep": "sweeps?|风险扫描",
    "too small to measure": "too small to measure|人数太少(?:，?无法衡量)?",
}


def find(text: str) -> str | None:
    """Return the term that a text names by one of its names."""
    plain = " ".join(text.lower().split())
    for term, names in ALIASES.items():
        if plain == term or re.fullmatch(f"(?:{names})s?", plain):
            return term
    return None


def chosen(word: str) -> list[str]:
    """Return the term that a word names, or all terms for no word."""
    if not word.strip():
        return list(ALIASES)
    if term := find(word):
        return [term]
    text = gettext("The glossary has no {word!r}. It has: {terms}.")
    raise BadInput(text.format(word=word, terms=", ".join(ALIASES)))
