"""Write a campaign's message into a TOML file, and read it back.

A part that the file leaves out stays as it is. An empty one is the default.
"""

import json
import tomllib
from pathlib import Path

from pydantic import Field, ValidationError

from retention import policy_file
from retention.campaigns.lifecycle.edits import Changes
from retention.campaigns.lifecycle.message_edits import ALL
from retention.campaigns.lifecycle.spec import Body
from retention.campaigns.message.merged_message import written_parts
from retention.campaigns.message.parts import PartChanges
from retention.errors import BadInput
from retention.text import gettext

PAGE = "docs/crm/message.md"


class MessageFile(PartChanges):
    """A whole file. ``text`` is the campaign's text."""

    text_without_code: str | None = None
    group: dict[str, PartChanges] = Field(default_factory=dict)


def message_toml(body: Body) -> str:
    """Return the message of a version as TOML, also with the parts that are defaults."""
    written = written_parts(body)
    common = {**written.get(ALL, {}), "text": body.copy_text}
    common |= {"text_without_code": body.reminder_text} if body.reminder_action else {}
    tables = [_table(common)]
    for line in body.offers:
        name = json.dumps(line.rule, ensure_ascii=False)
        tables.append(f"[group.{name}]\n{_table(written.get(line.rule, {}))}")
    return "\n\n".join(tables) + "\n"


def _table(parts: dict[str, str]) -> str:
    names = dict.fromkeys((*PartChanges.model_fields, *parts))
    return "\n".join(f"{name} = {_quoted(parts.get(name, ''))}" for name in names)


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
        common = file.model_dump(include={*PartChanges.model_fields} - {"text"})
        return Changes(
            copy_text=file.text,
            reminder_text=file.text_without_code,
            messages={ALL: PartChanges(**common), **file.group},
        )
    raise BadInput(problem.format(path=path, explanation=explanation), field="file")
