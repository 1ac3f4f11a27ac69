"""Choose the name with which a message greets a customer."""

import re


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


# Family names come first, or the whole name is the polite form.
_WHOLE_NAME = _set("hu ja ko vi zh")
_TITLES = _set(
    "dr dra prof mr mrs ms miss mx sir madam herr frau fräulein m mme mlle sr sra srta don doña "
    "ing mag dipl"
)
_SUFFIXES = _set("jr sr ii iii iv phd md dds esq mba msc bsc")
# A first word that is no given name, or not the whole one.
_NO_GIVEN_NAME = _set(
    "van von der den de del della di da dos la le el al bin ibn abd abdul abdel abu umm st san"
)
_AND = _set("and und et y e i")
_COMPANY = re.compile(
    r"\d|&|\b(?:gmbh|ag|kg|ltd|llc|inc|corp|co|plc|pty|bv|nv|oy|ab|as|sa|sarl|srl|spa|kk|"
    r"company|household|family|familie|famille|familia)\b",
    re.IGNORECASE,
)
# Chinese, Japanese and Korean names are not cut into given and family names.
_EAST_ASIAN = re.compile("[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff]")


def greeting_name(name: str, language: str) -> str:
    """Return the given name if it can be told from the others, else the whole name.

    ``language`` is a BCP 47 tag.

    Examples
    --------
    >>> [greeting_name(name, "en") for name in ("Ruth Reyes", "Reyes, Ruth", "Dr. Ruth M. Reyes")]
    ['Ruth', 'Ruth', 'Ruth']
    >>> [greeting_name(name, "en") for name in ("Tea & Co. Ltd", "J. Reyes", "Mr Reyes", "Ruth")]
    ['Tea & Co. Ltd', 'J. Reyes', 'Mr Reyes', 'Ruth']
    >>> greeting_name("Nagy Anna", "hu-HU"), greeting_name("王小明", "en")
    ('Nagy Anna', '王小明')
    >>> greeting_name("RUTH REYES", "en"), greeting_name("Ana and Luis Ruiz", "en")
    ('Ruth', 'Ana and Luis Ruiz')
    """
    whole = " ".join(name.split())
    if language.split("-")[0] in _WHOLE_NAME or _EAST_ASIAN.search(whole) or _COMPANY.search(whole):
        return whole
    family, comma, given = whole.partition(", ")
    if comma and _bare(given) not in _SUFFIXES:
        words = given.split()  # Reyes, Ruth M.
    else:
        words = family.split()
        while words and _bare(words[-1]) in _SUFFIXES:
            words.pop()
    has_title = bool(words) and _bare(words[0]) in _TITLES
    while words and _bare(words[0]) in _TITLES:
        words = words[1:]
    bare = [_bare(word) for word in words]
    is_family_only = has_title and len(words) == 1 and not comma  # Mr Reyes
    is_pair = len(words) > 1 and bare[1] in _AND
    if not words or is_family_only or is_pair or bare[0] in _NO_GIVEN_NAME:
        return whole
    first = words[0]
    if len(bare[0]) < 2 or "." in first:  # an initial
        return whole
    is_typed_in_one_case = whole in (whole.upper(), whole.lower()) and first.isalpha()
    return first.capitalize() if is_typed_in_one_case else first


def _bare(word: str) -> str:
    return word.strip(".,").casefold()
