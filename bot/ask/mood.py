"""Tell a request from a question, a report, a refusal or a thought.

A sentence that only talks about a change must not become that change.
"""

import re

# How a sentence relates to the deed that it names.
_MOODS = {
    "negated": (
        r"\b(?:don'?t|do not|does not|doesn'?t|did not|didn'?t|won'?t|will not|not|never|no need|"
        r"nobody|no one|none|"
        r"shouldn'?t|should not|wouldn'?t|would not|mustn'?t|rather not|instead of|too early)\b|"
        r"(?<!要)不要|先别|别(?!的)|不用|不想|不必|没有?必要|还不|(?<!能)不能|(?<!该)不该|不可以"
    ),
    "reported": (
        r"\b(?:said|says|told|wrote|mentioned|suggested|thought|thinks|believes|heard|asked|"
        r"by mistake|already|"
        r"we could|we might|i might|i would (?!like|love)|i'd rather|(?:i|we) think|maybe|perhaps|"
        r"wish)\b|说过?|听说|已经|以为|也许"
    ),
    "conditional": (
        r"\bif (?!you (?:can|could|have|don'?t mind)|possible|necessary)|\bunless\b|"
        r"如果|要是|万一"
    ),
    "how": (
        r"\bhow (?:do|does|can|could|should|would) (?:i|we|you|one|someone|people)\b|\bhow (?:i|"
        r"we) (?:can )?\b|\bhow to\b|"
        r"\bwhat (?:does|do|happens|would happen)\b|\bhow does \w+ work\b|\bexplain how\b|"
        r"\bis it safe\b|"
        r"怎么(?!样|了|回事|定义)|如何(?!$|[？?])"
    ),
    "what_if": r"\bwhat (?:happens|would happen)\b|\bis it safe\b|会怎样|会怎么样",
    "may_they": r"^(?:can|may|could) (?!you|u\b|i\b|we\b)[a-z]+s?\b",
    "should": (
        r"^(?:so |and |ok,? )?(?:should|shall|must|do) (?:i|we|they|you)\b|\bwould it be\b|"
        r"\bis it (?:wise|a good idea|right)\b|"
        r"要不要|该不该|应不应该|是否|需不需要|需要.*吗|应该.*吗|能不能停"
    ),
    "asks": (
        r"^(?:so |and |ok,? )?(?:who|whom|why|when|did|does|has|have|had|was|were|is|are)\b|^谁|"
        r"为什么|为啥|什么时候|谁(?:批|停|提交|起草)"
    ),
    "may_i": r"^(?:can|may|could) (?:i|we) (?!see|have|get)",
}


class Mood:
    """How a sentence relates to the deed that it names."""

    def __init__(self, low: str) -> None:
        def has(name: str) -> bool:
            return re.search(_MOODS[name], low) is not None

        self.negated = has("negated")
        self.reported = has("reported")
        self.conditional = has("conditional")
        self.how = has("how")
        self.what_if = has("what_if")
        self.may_they = has("may_they")
        self.should = has("should")
        self.asks = has("asks")
        self.may_i = has("may_i")
