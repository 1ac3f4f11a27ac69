"""Find the parts of a sentence that the understood command does not express.

No constraint may be lost silently: "at risk in Berlin" is answered for all cities only together
with the remark that "in Berlin" was not used.
"""

import re

from bot.ask.result import paths
from bot.ask.sentence import is_chinese, word_list
from bot.ask.values import Values

_OPENERS = (
    r"only|in|from|with|without|except|excluding|but|who|whose|that|which|for|by|over|under|above|"
    r"below|more|less|at|via|not|of|among|since|younger|older|having|using|on"
)
# Words that only a narrowing phrase has, even though each may stand elsewhere.
_NARROWING = re.compile(
    r"\b(?:new (?:customers|clients|buyers)|except|excluding|without|under \d|over \d|above|"
    r"below|more than \d|less than \d|fewer|at least \d|"
    r"by (?:country|city|channel|category|tier|month|segment|region))\b"
)
_EXPLANATION = re.compile(
    r"^(?:my |our |the |i |we |you |it |he |she |they |let |please |thank|since |as |because|"
    r"before |after |to be |in order|now that|someone |new data|mine |anna |tom |for the (?:report|"
    r"meeting|board|quarter))"
)
_ZH_FILLER = re.compile(
    r"请问|麻烦|帮我|告诉|给我|看看|看下|看一下|显示|列出|预测|查一下|一下|一些|一个|一封|哪些|哪位|"
    r"哪个|那些|这些|什么|多少|几个|怎么样|怎么|到哪一?步|到哪|为什么|为啥|如何|有没有|没有|是不是|"
    r"快要|最近|现在|目前|可以|应该|我们|你们|他们|她们|(?<![老新大女男])客户|"
    r"(?<![老新大女男])顾客|(?<![老新大女男])用户|家庭|名单|列表|流失|风险|以上|就行|就好|起草|"
    r"活动|召回|优惠|折扣|推荐|商品|产品|东西|预算|离开|跑路|最高|概率|情况|结果|欧元|美元|"
    r"正在进行|待审批|审批|草稿|接下来|喜欢|即将|可能|容易|正在|进行|等待|马上|人群|大家|今天|"
    r"下个?月|本月|这个?月|本周|这周|效果|收益|数据|模型|提醒|高风险|中风险|低风险|"
    r"[的了吗呢啊吧呀嘛啦有是和或在就都也还再只把对从向为给请谁要会想能个名位件那这我你他她它将快搞做发看先号让与及去来人]"
)
_TRIM = re.compile(r"^[\s,.;:!?\"'()，。！？、：；-]+|[\s,.;:!?\"'()，。！？、：；-]+$")
_TRAILING = re.compile(
    r"(?:[\s,]+(?:and|or|please|pls|plz|thanks|too|as well|of|to|for|with|the|a|an|in|at|on|"
    r"but|i|we|is|are|me|by|from))+$"
)
# Intents that list or pick customers: every constraint matters.
PICKING = paths(
    *("sweep", "cohort", "customers", "sales", "recommend"),
    campaign="draft approve submit edit list",
    digest="now",
    report="recommend",
)


def unused_parts(
    text: str, values: Values, explained: tuple[tuple[int, int], ...], intent: str
) -> tuple[str, ...]:
    """Return the parts of a sentence that narrow it and that the command lacks."""
    covered = [False] * len(text)
    for start, end in explained:
        covered[start:end] = [True] * (end - start)
    if is_chinese(text):
        return _chinese_parts(text, covered)
    parts: list[str] = []
    has_head = False
    for start, end in _clauses(text):
        is_head = any(covered[start:end])
        clause = text[start:end]
        if is_head or _is_narrowing_clause(clause, after_head=has_head):
            parts += _clause_parts(text, covered, start, end, intent, is_head=is_head)
        has_head = has_head or is_head
    return tuple(dict.fromkeys(parts))


def _clauses(text: str) -> list[tuple[int, int]]:
    bounds, start = [], 0
    for match in re.finditer(r"(?<!\d)[,;:!?]+(?!\d)|[.](?:\s|$)|\s-\s|[?!,;]+", text):
        bounds.append((start, match.start()))
        start = match.end()
    bounds.append((start, len(text)))
    return [(begin, end) for begin, end in bounds if text[begin:end].strip()]


def _is_narrowing_clause(clause: str, *, after_head: bool) -> bool:
    low = clause.lower().strip()
    if not after_head:
        return re.match(r"(?:in|from|for) \w+$", low) is not None
    return (
        re.match(
            r"(?:only|just|but (?:only|not)|except|excluding|without|in|from|with|who|not) ", low
        )
        is not None
    )


def _clause_parts(
    text: str, covered: list[bool], start: int, end: int, intent: str, *, is_head: bool
) -> list[str]:
    """Return the uncovered runs of a clause that hold an unexplained word."""
    runs, at = [], start
    while at < end:
        if covered[at]:
            at += 1
            continue
        stop = at
        while stop < end and not covered[stop]:
            stop += 1
        runs.append((at, stop))
        at = stop
    parts = []
    first_covered = next((i for i in range(start, end) if covered[i]), start)
    for run_start, run_end in runs:
        run = text[run_start:run_end]
        before_head = is_head and run_end <= first_covered
        part = _before(run) if before_head else _after(run, intent)
        if part:
            parts.append(part)
    return parts


def _unexplained(word: str) -> bool:
    bare = word.strip(".,;:!?\"'()").lower()
    return (
        bool(bare)
        and bare not in word_list("filler")
        and bare.removesuffix("'s") not in word_list("filler")
    )


def _before(run: str) -> str | None:
    """Return the modifiers right before the head: "women" of "women at risk"."""
    low = run.lower().strip()
    if _EXPLANATION.match(low):
        return None
    words = run.split()
    if match := re.match(r"(?:in|from|for) (?:the )?(\S+)$", low):
        return run.strip() if _unexplained(match[1]) else None
    modifiers: list[str] = []
    for word in reversed(words):
        if not _unexplained(word) or len(modifiers) == 3:
            break
        modifiers.insert(0, word)
    if not modifiers or re.fullmatch(
        r"[a-z]+(?:ed|ing|ly)|list|show|find|worried|afraid|been", modifiers[-1].lower()
    ):
        return None
    return _TRIM.sub("", " ".join(modifiers)) or None


def _after(run: str, intent: str) -> str | None:
    """Return what follows the head: "in Berlin", "who bought coffee in the last 90 days"."""
    part = _TRIM.sub("", run)
    while match := _TRAILING.search(f" {part}"):
        part = _TRIM.sub("", part[: max(match.start() - 1, 0)])
    words = part.split()
    narrows = _NARROWING.search(part.lower())
    if not words or (not narrows and not any(_unexplained(word) for word in words)):
        return None
    if intent not in PICKING:
        named = re.search(r"\b(?:in|from|by|for|except|without|only) (?:the )?([A-Z]\w+)", run)
        return part if named and _unexplained(named[1]) else None
    while words and not _unexplained(words[0]) and not re.fullmatch(_OPENERS, words[0].lower()):
        words.pop(0)
    return " ".join(words) or None


def _chinese_parts(text: str, covered: list[bool]) -> tuple[str, ...]:
    rest = list(text)
    for at, is_covered in enumerate(covered):
        if is_covered:
            rest[at] = "\n"
    left = _ZH_FILLER.sub(lambda match: "\n" * len(match[0]), "".join(rest))
    parts = re.findall(r"[\u4e00-\u9fffA-Za-z0-9]{2,}", left)
    return tuple(dict.fromkeys(part for part in parts if part.lower() not in word_list("filler")))
