"""Tell a request from a question, a report, a refusal or a thought.

A sentence that only talks about a change must not become that change.
"""

import re
from dataclasses import dataclass

_POLITE = re.compile(
    r"\b(?:could|can|would|will) (?:you|u)\b|\bwould you mind\b|\bmay i (?:see|have)\b|"
    r"\bcan i (?:see|have|get)\b|"
    r"\bplease\b|\bpls\b|\bplz\b|请|麻烦|帮我|可以帮"
)
_NEGATED = re.compile(
    r"\b(?:don'?t|do not|does not|doesn'?t|did not|didn'?t|won'?t|will not|not|never|no need|"
    r"nobody|no one|none|"
    r"shouldn'?t|should not|wouldn'?t|would not|mustn'?t|rather not|instead of|too early)\b|"
    r"(?<!要)不要|先别|别(?!的)|不用|不想|不必|没有?必要|还不|(?<!能)不能|(?<!该)不该|不可以"
)
_REPORTED = re.compile(
    r"\b(?:said|says|told|wrote|mentioned|suggested|thought|thinks|believes|heard|asked|"
    r"by mistake|already|"
    r"we could|we might|i might|i would (?!like|love)|i'd rather|(?:i|we) think|maybe|perhaps|"
    r"wish)\b|说过?|听说|已经|以为|也许"
)
_CONDITIONAL = re.compile(
    r"\bif (?!you (?:can|could|have|don'?t mind)|possible|necessary)|\bunless\b|如果|要是|万一"
)
_HOW = re.compile(
    r"\bhow (?:do|does|can|could|should|would) (?:i|we|you|one|someone|people)\b|\bhow (?:i|"
    r"we) (?:can )?\b|\bhow to\b|"
    r"\bwhat (?:does|do|happens|would happen)\b|\bhow does \w+ work\b|\bexplain how\b|"
    r"\bis it safe\b|"
    r"怎么(?!样|了|回事|定义)|如何(?!$|[？?])"
)
_WHAT_IF = re.compile(r"\bwhat (?:happens|would happen)\b|\bis it safe\b|会怎样|会怎么样")
_MAY_THEY = re.compile(r"^(?:can|may|could) (?!you|u\b|i\b|we\b)[a-z]+s?\b")
_SHOULD = re.compile(
    r"^(?:so |and |ok,? )?(?:should|shall|must|do) (?:i|we|they|you)\b|\bwould it be\b|"
    r"\bis it (?:wise|a good idea|right)\b|"
    r"要不要|该不该|应不应该|是否|需不需要|需要.*吗|应该.*吗|能不能停"
)
_ASKS = re.compile(
    r"^(?:so |and |ok,? )?(?:who|whom|why|when|did|does|has|have|had|was|were|is|are)\b|^谁|"
    r"为什么|为啥|什么时候|谁(?:批|停|提交|起草)"
)
_MAY_I = re.compile(r"^(?:can|may|could) (?:i|we) (?!see|have|get)")


@dataclass(frozen=True, slots=True)
class Mood:
    """How a sentence relates to the deed that it names."""

    negated: bool
    reported: bool
    conditional: bool
    polite: bool
    how: bool
    what_if: bool
    may_they: bool
    should: bool
    asks: bool
    may_i: bool


def mood_of(low: str) -> Mood:
    """Return the mood of a sentence."""

    def has(pattern: re.Pattern[str]) -> bool:
        return pattern.search(low) is not None

    return Mood(
        negated=has(_NEGATED),
        reported=has(_REPORTED),
        conditional=has(_CONDITIONAL),
        polite=has(_POLITE),
        how=has(_HOW),
        what_if=has(_WHAT_IF),
        may_they=has(_MAY_THEY),
        should=has(_SHOULD),
        asks=has(_ASKS),
        may_i=has(_MAY_I),
    )
