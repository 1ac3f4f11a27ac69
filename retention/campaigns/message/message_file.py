"""Write a campaign's message into a TOML file, and read it back.

A part that the file leaves out becomes the default. Without a text, the campaign keeps its own.
"""

import json
import tomllib
from pathlib import Path

from pydantic import Field, ValidationError

from retention import policy_file
from retention.campaigns.lifecycle.edits import Changes
from retention.campaigns.lifecycle.message_edits import ALL
from retention.campaigns.lifecycle.spec import Body
from retention.campaigns.message.brand import Strict
from retention.campaigns.message.merged_message import written_parts
from retention.campaigns.message.parts import Block, PartChanges, show_block
from retention.errors import BadInput
from retention.text import gettext

PAGE = "docs/crm/message.md"
LINES = ("subject", "preheader", "greeting", "sender_name")


class GroupMessage(Strict):
    """The message to one offer group."""

    subject: str = ""
    preheader: str = ""
    greeting: str = ""
    sender_name: str = ""
    blocks: tuple[str, ...] = ()
    text: str = ""

    def changes(self) -> PartChanges:
        """Return all parts as changes."""
        return PartChanges(**self.model_dump(include={*LINES}), blocks=", ".join(self.blocks))


class MessageFile(GroupMessage):
    """A whole file. ``text`` is the campaign's text."""

    text_without_code: str = ""
    group: dict[str, GroupMessage] = Field(default_factory=dict)


def message_toml(body: Body) -> str:
    """Return the message of a version as TOML, also with the parts that are defaults."""
    written, lines = written_parts(body), []
    texts = {"text": body.copy_text}
    if body.reminder_action:
        texts["text_without_code"] = body.reminder_text
    lines += _table(written.get(ALL, {}), body.message.blocks, texts)
    for line in body.offers:
        parts = body.group_messages.get(line.rule)
        lines += ["", f"[group.{json.dumps(line.rule, ensure_ascii=False)}]"]
        own = written.get(line.rule, {})
        lines += _table(own, parts.blocks if parts else (), {"text": own.get("text", "")})
    return "\n".join(lines) + "\n"


def _table(parts: dict[str, str], blocks: tuple[Block, ...], texts: dict[str, str]) -> list[str]:
    listed = ", ".join(_quoted(show_block(block)) for block in blocks)
    return [
        *(f"{name} = {_quoted(parts.get(name, ''))}" for name in LINES),
        f"blocks = [{listed}]",
        *(f"{name} = {_quoted(text)}" for name, text in texts.items()),
    ]


def _quoted(text: str) -> str:
    """Return a TOML string; one of several lines stays readable."""
    quoted = json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
    if "\n" not in text:
        return quoted
    return '"""\n' + quoted[1:-1].replace("\\n", "\n") + '"""'


def read_message(path: Path) -> Changes:
    """Return the message of a file as changes of all its parts.

    Raises `BadInput`: the file cannot be read, or has another form.
    """
    problem = gettext("The file {path} cannot be used: {explanation}.")
    text = ""
    try:
        text = policy_file.read_text(path)
        file = policy_file.validate_strictly(MessageFile, tomllib.loads(text))
    except OSError as error:
        explanation = str(error.strerror or error)
    except UnicodeDecodeError:
        explanation = gettext("it is not UTF-8 text; save it as UTF-8")
    except tomllib.TOMLDecodeError as error:
        explanation = policy_file.explain_toml_error(error, text)
    except ValidationError as error:
        explanation = policy_file.explain_first_error(error, page=PAGE)
    else:
        groups = {
            rule: group.changes().model_copy(update={"text": group.text})
            for rule, group in file.group.items()
        }
        return Changes(
            copy_text=file.text or None,
            reminder_text=file.text_without_code,
            messages={ALL: file.changes(), **groups},
        )
    raise BadInput(problem.format(path=path, explanation=explanation), field="file")
