"""The result of reading a sentence, and which commands change something."""

from dataclasses import dataclass

from bot.ask.places import Gap
from bot.commands.parsing import parse


def paths(*first: str, **second: str) -> frozenset[str]:
    """Return paths of commands from their first words, with their second words."""
    pairs = {f"{group} {word}" for group, words in second.items() for word in words.split()}
    return frozenset(first) | pairs


# Commands that change something for other people. All others only read.
CHANGING = paths(
    "retrain",
    "forget",
    campaign="draft edit submit approve reject stop release",
    definition="set",
    digest="schedule off",
    jobs="cancel retry",
    models="promote rollback",
    role="grant",
    schedule="add",
)
READING = paths(
    *("help", "score", "sweep", "cohort", "customers", "sales", "glossary", "recommend", "status"),
    alert="list test",
    audience="list show",
    campaign="held list misuse my-calls preview result show",
    data="show",
    definition="show",
    digest="list now",
    jobs="list",
    models="card check compare list show",
    report="recommend promises programme",
    role="list",
    schedule="list",
    source="list show",
)


@dataclass(frozen=True, slots=True)
class Subject:
    """What a thread is about."""

    command: str | None = None
    cohort: str | None = None
    customer: str | None = None
    campaign: str | None = None
    customers: tuple[str, ...] = ()  # of the last list, in its order


@dataclass(frozen=True, slots=True)
class Understanding:
    """The command for a sentence, if there is one."""

    command: str | None = None
    changes: bool = False
    confidence: float = 0.0  # 0 to 1
    unused: tuple[str, ...] = ()  # parts of the sentence that the command does not express
    alternatives: tuple[str, ...] = ()  # other command lines, nearest first
    place_gap: Gap = ""  # what the data lacks for a place; see `bot.ask.places.gap`

    def as_dict(self) -> dict[str, object]:
        """Return the JSON of ``retention ask``."""
        return {
            "understood": self.command,
            "changes": self.changes,
            "confidence": round(self.confidence, 2),
            "unused": list(self.unused),
            "alternatives": list(self.alternatives),
            "place_gap": self.place_gap,
        }


def path_of(line: str) -> str:
    """Return the path of a command line: ``campaign draft``."""
    command = parse(line).command
    return command.path.removeprefix("retention ")


def changes(line: str) -> bool:
    """Return whether a command line changes something; an unknown command counts as a change."""
    return path_of(line) not in READING
