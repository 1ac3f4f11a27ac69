"""Measure how well spoken commands are heard (``python -m tests.benchmarks.voice``).

Needs the extra ``voice`` and espeak-ng. The commands are the first twenty sentences of the report
half of ``sentences/`` without a subject, a number or a code. One recording of a person comes with
the recogniser.
"""

import re
from pathlib import Path
from tempfile import TemporaryDirectory

import moonshine_voice

from bot.ask import Subject
from retention.texts import speech
from tests.benchmarks.ask import Case, Result, _understood, read
from tests.retention.texts.test_speech import SPEEDS, spoken

_SPOKEN = re.compile(r"[A-Z][A-Za-z', ]+[.?]")
RECORDING = Path(moonshine_voice.__file__).parent / "assets" / "two_cities.wav"
DICKENS = """It was the best of times, it was the worst of times, it was the age of wisdom, it was
the age of foolishness, it was the epoch of belief, it was the epoch of incredulity, it was the
season of Light, it was the season of Darkness, it was the spring of hope, it was the winter of
despair, we had everything before us, we had nothing before us, we were all going direct to Heaven,
we were all going direct the other way – in short, the period was so far like the present period,
that some of its noisiest authorities insisted on its being received, for good or for evil, in the
superlative degree of comparison only."""


def commands() -> list[Case]:
    """Return twenty sentences with their commands, changing ones too."""
    plain = [case for case in read("report") if case.subject == Subject() and case.command]
    return [case for case in plain if _SPOKEN.fullmatch(case.sentence)][:20]


def words(text: str) -> list[str]:
    """Return the words in small letters, without punctuation."""
    return re.findall(r"[\w']+", text.lower())


def errors(truth: list[str], heard: list[str]) -> int:
    """Count the words to change, add or drop (Levenshtein 1966)."""
    row = list(range(len(heard) + 1))
    for number, word in enumerate(truth, 1):
        above, row[0] = row[:], number
        for place, other in enumerate(heard, 1):
            row[place] = min(
                above[place] + 1, row[place - 1] + 1, above[place - 1] + (word != other)
            )
    return row[-1]


def main() -> None:
    """Print the table of docs/crm/voice.md."""
    cases = commands()
    with TemporaryDirectory() as folder:
        for speed in SPEEDS:
            said = [speech.recognise(spoken(Path(folder), case.sentence, speed)) for case in cases]
            heard = [
                Case(case.style, text, case.subject, case.command, ())
                for case, text in zip(cases, said, strict=True)
            ]
            results = [Result(case, _understood(case)) for case in heard]
            pairs = [
                (words(case.sentence), words(text)) for case, text in zip(cases, said, strict=True)
            ]
            wrong = sum(errors(*pair) for pair in pairs) / sum(len(truth) for truth, _ in pairs)
            print(
                f"{speed} words a minute, {len(cases)} commands: "
                f"{sum(truth == text for truth, text in pairs)} heard exactly, "
                f"{sum(result.is_right_command for result in results)} lead to the right command, "
                f"word error rate {wrong:.0%}, "
                f"{sum(result.runs_wrong_change for result in results)} run and "
                f"{sum(result.proposes_wrong_change for result in results)} propose a wrong change"
            )
            for case, text in zip(cases, said, strict=True):
                print(f"  {case.sentence} | {text}")
    truth, text = words(DICKENS), words(speech.recognise(RECORDING, 60))
    print(
        f"a person reads {len(truth)} words: word error rate {errors(truth, text) / len(truth):.1%}"
    )


if __name__ == "__main__":
    main()
