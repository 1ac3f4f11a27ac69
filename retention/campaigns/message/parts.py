"""Define the parts of a campaign's message, and read them as a person types them.

An empty part is the default of the offer, in the customer's language.
"""

import re
from collections.abc import Callable
from functools import partial
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict

from retention.campaigns.message.brand import MAX_SENDER, check_sender_name, is_web_address
from retention.campaigns.message.wording import PLACEHOLDERS, validate_line, validate_text
from retention.errors import BadInput, FieldErrors
from retention.text import gettext

BlockKind = Literal["text", "code", "products", "picture", "button"]
Source = Literal["recommended", "new", "category", "viewed", "bought"]
KINDS: tuple[BlockKind, ...] = get_args(BlockKind)
SOURCES: tuple[Source, ...] = get_args(Source)
MAX_PRODUCTS = 6
MAX_LABEL = 120  # characters
_NAMES = rf"(?:{'|'.join(KINDS)})\s*(?:[:|,]|$)"
_NEXT_BLOCK = re.compile(rf",\s*(?={_NAMES})")
# In a value: what ends it, a number like that of products, and a comma like one between blocks.
_MARK = re.compile(rf"[\\|]|:(?=\d+$)|,(?=\s*(?:{_NAMES}|$))")
_ESCAPED = re.compile(r"\\([\\|:,])")
_HIDDEN = dict(enumerate("\\|:,"))  # control characters stand for them while blocks are read
_GREETING = re.compile(r"[^\n{}]{0,40}\{name\}[^\n{}]{0,20}")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Block(_Frozen):
    """One block of an e-mail.

    ``label`` is the heading of products, the alternative text of a picture or the text of a button.
    """

    kind: BlockKind
    source: Source = "recommended"  # of products
    category: str = ""  # of products, with the source ``category``
    count: int = 0  # the most products; 0: all that the offer has
    address: str = ""  # of a picture, or the id of its item; or of the page that a button opens
    label: str = ""

    @property
    def item_id(self) -> str:
        """The item of the catalogue whose picture is shown, if any."""
        return self.address if self.kind == "picture" and "://" not in self.address else ""


class MessageParts(_Frozen):
    """The parts of a message; empty ones are defaults. ``text`` does not include ``greeting``."""

    subject: str = ""
    preheader: str = ""  # what a list of e-mails shows below the subject
    greeting: str = ""
    text: str = ""
    sender_name: str = ""
    blocks: tuple[Block, ...] = ()  # in their order; what is left out is off

    def overridden(self, *others: "MessageParts") -> "MessageParts":
        """Return these parts with those of others that are not empty; the last one counts."""
        own = {
            name: value
            for parts in others
            for name in MessageParts.model_fields
            if (value := getattr(parts, name))
        }
        return self.model_copy(update=own) if own else self

    @property
    def is_written(self) -> bool:
        """Whether a person wrote words of it, which are in one language."""
        words = (self.subject, self.preheader, self.greeting, self.text)
        return any(words) or any(block.label for block in self.blocks)

    @property
    def products(self) -> Block | None:
        """The block with products, if there is one."""
        return next((block for block in self.blocks if block.kind == "products"), None)


class PartChanges(_Frozen):
    """Changes of a message as typed; None keeps a part, and an empty one restores the default."""

    subject: str | None = None
    preheader: str | None = None
    greeting: str | None = None
    text: str | None = None
    sender_name: str | None = None
    blocks: str | None = None


def changed_parts(parts: MessageParts, changes: PartChanges) -> MessageParts:
    """Return a message with the changes.

    Raises `BadInput`: of all parts together.
    """
    line = partial(validate_line, placeholders=PLACEHOLDERS)
    parsers: dict[str, Callable[[str], object]] = {
        "subject": partial(line, field="subject", label=gettext("The subject")),
        "preheader": partial(line, field="preheader", label=gettext("The preheader")),
        "greeting": partial(line, field="greeting", label=gettext("The greeting")),
        "sender_name": _validate_sender,
        "text": lambda typed: validate_text(typed) if typed.strip() else "",
        "blocks": parse_blocks,
    }
    errors = FieldErrors()
    update: dict[str, object] = {}
    for name, typed in changes.model_dump(exclude_none=True).items():
        with errors.collect():
            update[name] = parsers[name](typed)
    errors.raise_any()
    return parts.model_copy(update=update)


def _validate_sender(typed: str) -> str:
    name = validate_line(typed, "sender_name", gettext("The sender"), (), MAX_SENDER)
    try:
        return check_sender_name(name)
    except ValueError as error:
        raise BadInput(f"{error}.", field="sender_name") from None


def with_greeting(text: str, greeting: str) -> str:
    """Return a text that begins with a greeting, instead of its own line with the name.

    Examples
    --------
    >>> with_greeting("Hello {name},\\n\\nour tea", "Dear {name},"), with_greeting("Our tea", "Hi!")
    ('Dear {name},\\n\\nour tea', 'Hi!\\n\\nOur tea')
    """
    if not greeting:
        return text
    first, _, rest = text.strip().partition("\n")
    if rest.startswith("\n") and _GREETING.fullmatch(first.strip()):
        text = rest
    return f"{greeting}\n\n{text.strip()}"


def usual_blocks(*, has_code: bool) -> tuple[Block, ...]:
    """Return the default blocks of an e-mail."""
    kinds: tuple[BlockKind, ...] = ("text", "products", "button")
    if has_code:
        kinds = ("text", "code", "button", "products")
    return tuple(Block(kind=kind) for kind in kinds)


def parse_blocks(typed: str) -> tuple[Block, ...]:
    """Read blocks as a person types them, in their order; empty for the default.

    A backslash takes the meaning of ``|``, ``:`` or ``,`` away.

    Examples
    --------
    >>> [block.kind for block in parse_blocks("text, code, products:new:4, button|To the shop")]
    ['text', 'code', 'products', 'button']
    >>> parse_blocks(r"text,products:category=Red\|white:2")[1].category
    'Red|white'
    """
    if not typed.strip():
        return ()
    typed = _ESCAPED.sub(lambda mark: chr("\\|:,".index(mark[1])), typed)
    blocks = tuple(_parse_block(one.strip()) for one in _NEXT_BLOCK.split(typed.strip(", \n")))
    kinds = [block.kind for block in blocks]
    for kind in KINDS:
        if kinds.count(kind) > 1:
            problem = gettext("The block {kind} is there twice; keep one of the two.")
            raise _unusable(problem, kind=kind)
    if "text" not in kinds:
        problem = gettext("The blocks are {typed!r}, without the text; add text.")
        raise _unusable(problem, typed=typed)
    return blocks


def _unusable(problem: str, **values: object) -> BadInput:
    return BadInput(problem.format(**values).translate(_HIDDEN), field="blocks")


def _parse_block(typed: str) -> Block:
    form, _, label = typed.partition("|")
    kind, _, rest = form.partition(":")
    kind, label = kind.strip().lower(), label.strip().translate(_HIDDEN)
    rest = rest.strip()
    if kind not in KINDS:
        problem = gettext("The block {kind!r} means nothing here; use {kinds}.")
        raise _unusable(problem, kind=kind[:40], kinds=", ".join(KINDS))
    validate_line(label, "blocks", gettext("The words of the block"), (), MAX_LABEL)
    if kind == "products":
        return _parse_products(rest, label)
    rest = rest.translate(_HIDDEN)
    if kind == "picture":
        return _parse_picture(rest, label)
    if kind == "button":
        if rest and not is_web_address(rest):
            problem = gettext(
                "The button opens {url!r}, which is no web address; write it like "
                "https://shop.example/new."
            )
            raise _unusable(problem, url=rest[:80])
        return Block(kind=kind, address=rest, label=label)
    if rest or label:
        problem = gettext("The block {typed!r} says too much; write only {kind}.")
        raise _unusable(problem, typed=typed[:80], kind=kind)
    return Block.model_validate({"kind": kind})


def _parse_products(rest: str, label: str) -> Block:
    """Read ``SOURCE:COUNT``; both may be missing, and a category's name follows ``=``."""
    first, colon, last = rest.rpartition(":")
    if not last.isdecimal():
        first, last = rest, ""
    elif not colon:
        first = ""
    source, _, category = (first or "recommended").partition("=")
    if source not in SOURCES or bool(category) != (source == "category"):
        problem = gettext("The products are {source!r}; use {sources}.")
        known = ", ".join(f"{name}=NAME" if name == "category" else name for name in SOURCES)
        raise _unusable(problem, source=first[:80], sources=known)
    if last and not 1 <= int(last) <= MAX_PRODUCTS:
        problem = gettext("The number of products is {number}; use 1 to {most}.")
        raise _unusable(problem, number=last, most=MAX_PRODUCTS)
    values = {
        "source": source,
        "category": category.strip().translate(_HIDDEN),
        "count": int(last or 0),
    }
    return Block.model_validate({"kind": "products", "label": label, **values})


def _parse_picture(rest: str, label: str) -> Block:
    """Read the URL of a picture, which needs a description, or the id of an item."""
    is_item = rest and "://" not in rest
    if not is_item and not (rest.startswith("https://") and is_web_address(rest)):
        problem = gettext(
            "The picture is {url!r}; write an item of the catalogue or an https address, like "
            "https://shop.example/tea.jpg."
        )
        raise _unusable(problem, url=rest[:80])
    if not is_item and not label:
        problem = gettext(
            "The picture {url!r} has no description for those who do not see it; add one, like "
            "{url}|Autumn teas."
        )
        raise _unusable(problem, url=rest)
    return Block(kind="picture", address=rest, label=label)


def show_block(block: Block) -> str:
    """Return a block as a person types it."""
    words: list[str] = [block.kind]
    if block.kind == "products":
        is_named = block.source != "recommended" or block.count
        source = f"{block.source}={_escape(block.category)}" if block.category else block.source
        words += [source] if is_named else []
        words += [str(block.count)] if block.count else []
    words += [_escape(block.address)] if block.address else []
    return ":".join(words) + (f"|{_escape(block.label)}" if block.label else "")


def _escape(value: str) -> str:
    return _MARK.sub(r"\\\g<0>", value)


def show_blocks(blocks: tuple[Block, ...]) -> str:
    """Return blocks as a person types them."""
    return ", ".join(map(show_block, blocks))
