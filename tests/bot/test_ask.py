"""Test that sentences become the right commands, and never a change by mistake."""

import json
from datetime import date

import pytest

from bot.ask import Subject, understand
from bot.ask.result import CHANGING, READING
from bot.ask.sentence import clean, correct, distance
from bot.commands import root
from bot.commands.catalogue import entries
from tests.benchmarks import ask

TODAY = date(2017, 10, 2)
LEVEL = 0.98  # exact commands on the tune half


@pytest.fixture(scope="module")
def tuned():
    return ask.results("tune")


def test_tune_half_keeps_its_level(tuned):
    wrong = [result.case.sentence for result in tuned if not result.is_exact]
    assert 1 - len(wrong) / len(tuned) >= LEVEL, wrong


def test_no_misread_sentence_runs_or_proposes_a_change(tuned):
    assert not [result.case.sentence for result in tuned if result.runs_wrong_change]
    assert not [result.case.sentence for result in tuned if result.proposes_wrong_change]


def test_evaluation_has_400_sentences_in_two_halves_of_styles():
    tune, report = ask.read("tune"), ask.read("report")
    assert len(tune) + len(report) >= 400
    assert not {case.style for case in tune} & {case.style for case in report}


@pytest.mark.parametrize(
    ("sentence", "command"),
    [
        ("why is household 1243 at risk", "score 1243"),
        ("谁快流失了？", "sweep"),
        ("/retention sweep --tier medium", "sweep --tier medium"),
        ("sweep --top 5", "sweep --top 5"),
    ],
)
def test_sentences_of_the_issue(sentence, command):
    assert understand(sentence, TODAY).command == command


def test_constraint_without_an_option_is_named():
    understanding = understand("who is about to leave in Berlin?", TODAY)
    assert understanding.command == "sweep"
    assert understanding.unused == ("in Berlin",)


def test_value_of_no_option_is_named():
    understanding = understand("give 887 a 10% coupon", TODAY)
    assert "887" in " ".join(understanding.unused)


def test_second_deed_of_a_sentence_is_named():
    understanding = understand("submit c3fk92m and approve it", TODAY)
    assert understanding.command == "campaign submit c3fk92m"
    assert "approve it" in understanding.unused


@pytest.mark.parametrize("sentence", ["forget it", "forget about that", "stop", "cancel it", ""])
def test_idioms_are_no_commands(sentence):
    assert understand(sentence, TODAY).command is None


def test_value_that_the_tree_refuses_is_no_command():
    assert understand("top 99999999 customers at risk", TODAY).command is None


def test_reason_cannot_add_an_option():
    sentence = 'stop campaign c3fk92m because "x" --version 9'
    understanding = understand(sentence, TODAY)
    assert understanding.command == "campaign stop c3fk92m --reason \"'x' --version 9\""


def test_thread_gives_the_object():
    subject = Subject(command="sweep", cohort="3f9a21cd")
    assert understand("draft for these", TODAY, subject).command == (
        "campaign draft --cohort 3f9a21cd"
    )
    assert understand("draft for these", TODAY).command == "campaign draft"


def test_without_a_command_the_thread_gives_the_alternatives():
    understanding = understand("hm?", TODAY, Subject(campaign="c3fk92m"))
    assert understanding.command is None
    assert understanding.alternatives[0] == "campaign result c3fk92m"


def test_every_command_is_a_change_unless_it_is_known_to_read():
    names = {entry.name for entry in entries(root())}
    assert names >= READING
    assert names >= CHANGING
    assert not READING & CHANGING


def test_slack_markup_and_full_width_letters_are_removed():
    assert clean("<@U0BOT> *who*  is at risk？ :wave:") == "who is at risk?"


def test_typos_of_the_field_are_corrected_and_other_words_stay():
    assert correct("drfat a campaing for custmers") == "draft a campaign for customers"
    assert correct("send the graft to Maria, please retain it") == (
        "send the graft to Maria, please retain it"
    )
    assert distance("rsik", "risk") == 1


def test_terminal_prints_json_and_runs_nothing(monkeypatch, capsys, tmp_path):
    from bot import terminal

    monkeypatch.setenv("RETENTION_HOME", str(tmp_path))
    assert terminal.run(["ask", "--json", "draft a campaign"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["understood"] == "campaign draft"
    assert said["changes"] is True
    assert set(said) == {"understood", "changes", "confidence", "unused", "alternatives"}
