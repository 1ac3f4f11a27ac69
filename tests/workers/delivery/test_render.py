"""Test escaping, structure and limits of rendered templates."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st

from retention import templating
from retention.text import LANGUAGE, PSEUDO
from workers.delivery import render
from workers.delivery.block_limits import InvalidBlocks, check_message, size

TEMPLATE = """
text: "Hello {{ name }}"
blocks:
  - type: header
    text: {type: plain_text, text: "{{ name }}"}
  - type: section
    text: {type: mrkdwn, text: "*{{ name }}* & co"}
  - type: actions
    elements:
      - type: button
        action_id: "{{ ids.CANCEL_JOB }}"
        value: "{{ name }}"
        text: {type: plain_text, text: "Go"}
"""


@pytest.fixture
def templates(tmp_path, monkeypatch):
    (tmp_path / "slack").mkdir()
    monkeypatch.setattr(templating, "FOLDER", tmp_path)
    render._environment.cache_clear()
    yield lambda source: (tmp_path / "slack" / "it.yaml.j2").write_text(source) and "it"
    render._environment.cache_clear()


@pytest.mark.parametrize(
    ("name", "plain", "shown"),
    [
        ("<!channel>", None, "&lt;!channel&gt;"),
        ('Mac & "Cheese"', None, 'Mac &amp; "Cheese"'),
        ("a\n  - type: divider", None, None),
        ("{{ 7 * 7 }}", None, None),
        ("<@U123> <https://evil|click>", None, "&lt;@U123&gt; &lt;https://evil|click&gt;"),
        ('", type: "image', None, None),
        ("Tea \u202eevil\u202c \u2066a\u2069 \u05ea\u05d4", "Tea evil a \u05ea\u05d4", None),
        ("An\x00n\x1b[31m\x9b", "Ann[31m", None),
    ],
)
def test_hostile_name_is_escaped_and_loses_marks_and_controls(templates, name, plain, shown):
    """What goes back to us, like a button's value, stays as it is: it may be somebody's id."""
    message = render.message(templates(TEMPLATE), name=name)
    header, section, actions = message.blocks
    assert [block["type"] for block in message.blocks] == ["header", "section", "actions"]
    plain, shown = plain or name, shown or plain or name
    texts = header["text"]["text"], section["text"]["text"], message.text
    assert texts == (plain, f"*{shown}* & co", f"Hello {shown}")
    assert actions["elements"][0]["value"] == name


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Buy 2* get 1", "Buy 2\u2217 get 1"),
        ("Buy 2 * 1", "Buy 2 * 1"),
        ("*May*", "\u2217May\u2217"),
        ("~May~ `June`", "\u223cMay\u223c \u02cbJune\u02cb"),
        ("_May_ of shop_7", "\u02cdMay\u02cd of shop_7"),
    ],
)
def test_name_does_not_end_a_bold_passage(templates, name, shown):
    """Outside of bold passages names and commands in backticks stay."""
    source = """
text: "{{ name }}"
blocks:
  - type: header
    text: {type: plain_text, text: "{{ name }}"}
  - type: section
    text: {type: mrkdwn, text: "*{{ name }}* and {{ name }}, *{{ who | user }}: {{ name }}.*"}
"""
    header, section = (
        block["text"]["text"]
        for block in render.message(templates(source), name=name, who="U0LEAD").blocks
    )
    assert (header, section) == (name, f"*{shown}* and {name}, *<@U0LEAD>: {shown}.*")


@given(name=st.text(min_size=1, max_size=60).filter(str.strip))
def test_no_text_at_all_can_add_structure_or_a_mention(name):
    message = render.message("job/refused", sentence=name)
    (block,) = message.blocks
    assert set(block) == {"type", "text"}
    assert "<" not in message.text
    assert ">" not in block["text"]["text"]


def test_control_sequences_come_only_from_checked_ids(templates):
    source = """
blocks:
  - type: section
    text:
      type: mrkdwn
      text: "{{ who | user }} {{ 'https://x.example/a?b=1&c' | link('a|b <c>') }}"
  - type: section
    text: {type: plain_text, text: "{{ who | user }}"}
"""
    good, plain = render.message(templates(source), who="U0LEAD").blocks
    assert good["text"]["text"] == "<@U0LEAD> <https://x.example/a?b=1&amp;c|a/b &lt;c&gt;>"
    assert plain["text"]["text"] == "@U0LEAD"
    bad, _ = render.message("it", who="!channel").blocks
    assert bad["text"]["text"].startswith("!channel ")


def test_missing_variable_is_an_error(templates):
    with pytest.raises(Exception, match="undefined"):
        render.message(templates('text: "{{ nobody }}"'))


def test_macros_and_loops_keep_their_marks(templates):
    source = """
{% macro line(x) %}- {{ x }}
{% endmacro %}
blocks:
{% for name in names %}
  - type: section
    text:
      type: mrkdwn
      text: |
        {{ line(name) }}
{% endfor %}
"""
    blocks = render.message(templates(source), names=["<a>", "b & c"]).blocks
    assert [block["text"]["text"].strip() for block in blocks] == ["- &lt;a&gt;", "- b &amp; c"]


@hypothesis(max_examples=40)
@example(["<&>" * 1300] * 70)  # chance makes no message as long
@given(st.lists(st.text(min_size=1, max_size=4000).filter(str.strip), min_size=1, max_size=70))
def test_rendered_messages_fit_the_limits(texts):
    blocks = check_message(
        [{"type": "section", "text": {"type": "mrkdwn", "text": render.escape(t)}} for t in texts]
    )
    assert 1 <= len(blocks) <= 50
    assert size(blocks) <= 12_000
    for block in blocks:
        text = (block["text"] if block["type"] == "section" else block["elements"][0])["text"]
        assert len(text) <= 3000
        assert not text.rstrip("…").endswith(("&", "&a", "&am", "&amp", "&l", "&lt", "&g", "&gt"))


BUTTON = {"type": "button", "action_id": "a", "text": {"type": "plain_text", "text": "x"}}


@pytest.mark.parametrize(
    "blocks",
    [
        [{"type": "section", "block_id": "a", "text": {"type": "mrkdwn", "text": "x"}}] * 2,
        [{"type": "actions", "elements": []}],
        [{"type": "actions", "elements": [BUTTON, BUTTON]}],
        [{"type": "nonsense"}],
        [{"type": "section"}],
    ],
)
def test_blocks_that_slack_would_refuse_raise(blocks):
    with pytest.raises(InvalidBlocks):
        check_message(blocks)


SLACK = sorted((templating.FOLDER / "slack").rglob("*.yaml.j2"))


@pytest.mark.parametrize("path", SLACK, ids=lambda path: str(path.relative_to(templating.FOLDER)))
def test_template_values_are_quoted(path: Path):
    """An unquoted mark could be read as another YAML type."""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        assert not re.search(r":\s+\{\{[^}]*\}\}\s*[,}]?\s*$", line), (
            f"{path.name}:{number}: quote the value"
        )


def test_constants_do_not_leak_into_the_next_rendering(templates):
    name = templates("text: \"{{ first }} {{ 'constant' }}\"")
    assert render.message(name, first="a").text == "a constant"
    assert render.message(name, first="b").text == "b constant"


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (templating.signed(1234.5), "+1,234"),
        # A lone minus stood at a line's end, and the loss looked like a gain.
        (templating.money(-4.1, "GBP", 2), "−\u2060£4.10"),
        (templating.money(-5, ""), "−5"),
        # Yen have no decimals.
        (templating.money(500, "JPY", 2), "¥500"),
        (templating.money(500, "EUR", 2), "€500.00"),
        (templating.money(-1234.4, "KRW", 2), "−\u2060₩1,234"),
        # Zero has no sign, but a difference has one.
        (templating.money(-0.4), "0"),
        (templating.percent(-0.0004), "0%"),
        (templating.figure(-0.04, 1), "0.0"),
        (templating.signed(-0.04, 1), "+0.0"),
    ],
)
def test_numbers_have_the_sign_of_their_kind(number, shown):
    assert number == shown


@pytest.mark.parametrize(
    ("hours", "send_on", "said"),
    [
        (0, None, "It sends at once: nobody can stop it then."),
        (0, "2025-05-03", "It sends at its own time; anyone can stop it until then."),
        (4, None, "It sends 4 hours from now; anyone can stop it until then."),
    ],
)
def test_approval_consequences_are_one_sentence(hours, send_on, said):
    campaign = {"approvals_needed": 1, "approved_by": []}
    campaign |= {"clearance_hours": hours, "send_on": send_on}
    words = templating.environment(autoescape=False).get_template("slack/campaign/words.j2").module
    assert words.then(campaign) == said


def test_terminal_plan_repeats_no_word():
    plan = dict.fromkeys(("control", "treated", "cost", "profit", "profit_low", "profit_high"), 1)
    campaign = {
        "groups": {"control": 1, "treatment": 1, "excluded": 0},
        "plan": plan | {"smallest_effect": None},
        "targeting": {"by": "risk", "why": "none"},
        "prior": {"mean": -0.004, "campaigns": 1, "simulated": False},
    }
    campaign |= {"audience": 2, "holdout": 0.5, "currency": "USD", "budget": 9, "window_days": 28}
    campaign |= {"as_of": "2025-05-01T00:00:00+00:00", "model_version": "rules"}
    campaign |= {"tiers": {}, "excluded": {}, "offers": [], "assumed": []}
    template = templating.environment(autoescape=False).get_template("terminal/campaign/plan.j2")
    text = template.module.plan(campaign, "UTC")
    assert "Targeting:  Chosen by risk × value" in text
    assert "Chosen:" not in text
    assert "a prior of −0.4% extra buyers" in text


def test_the_terminal_shows_money_of_a_result_as_money():
    effect = dict.fromkeys(("per_customer", "low", "total_low", "high", "total_high"), -0.4)
    effect["total"] = -660.2
    measured = {"effects": {"orders": effect, "profit": effect}, "sample_ratio": {"p_value": 0.5}}
    measured |= {"advice": "stop", "simulated": False, "cost": 0, "expected_cost": 9}
    measured |= {"redeemed": 0, "cost_per_order": None, "erased": {"treatment": 1}, "left_out": 2}
    measured |= {"why_left_out": {"it bounced": 2}, "untaken": 3, "uncalled": 4}
    campaign = {"name": "A", "currency": "USD", "plan": {"cost": 8}}
    shown = {"campaign": campaign, "treated": 9, "control": 9, "measured": measured}
    text = templating.text("terminal/campaign/result.txt.j2", **shown)
    for beside in (
        "2 customers with the offer were not contacted (it bounced: 2)",
        "1 customer was erased since the approval (1 with the offer, 0 in the hold-out group)",
        "the file with 3 customers",
        "the call list with 4 customers",
    ):
        assert beside in text
    orders, profit = (" ".join(line.split()) for line in text.splitlines()[1:3])
    bounds = "(95% −0.400 to −0.400), −660.2 in all (−0.4 to −0.4)"
    assert orders == f"orders −0.400 per customer {bounds}"
    bounds = "(95% −$0.40 to −$0.40), −$660 in all ($0 to $0)"
    assert profit == f"profit −$0.40 per customer {bounds}".replace("−", "−\u2060")


@pytest.mark.parametrize(
    ("low", "high", "says"),
    [
        (0.01, 0.07, "It brings extra orders"),
        (-0.07, -0.01, "It costs orders"),
        (-0.03, 0.07, "It made a difference earlier"),
    ],
)
def test_interim_look_uses_the_interval_of_its_day(low, high, says):
    """The p-value stays below .05 even if the effect disappears later."""
    effect = {"tau": 0.05, "per_customer": (low + high) / 2, "p_value": 0.01}
    effect |= {"low": low, "high": high}
    sizes = {"treated": 85, "control": 15, "believable": True, "p_value": 1.0}
    look = {"day": 20, "days": 28, "redeemed": 1, "sample_ratio": sizes}
    look["effects"] = {"orders": effect, "profit": effect}
    campaign = {"name": "A", "state": "live", "currency": "EUR", "version": 1}
    campaign["window_ends_at"] = datetime(2025, 5, 1, tzinfo=UTC)
    shown = {"campaign": campaign, "look": look, "simulated": False, "newest": None}
    assert says in render.message("campaign/look", **shown, zone="UTC").text


def test_the_terminal_lists_held_copies_by_their_number():
    held = {"copy": 41, "customer": "4R1W-HVNA", "channel": "email", "attempts": 1}
    values = {"campaign": {"name": "A", "campaign_id": "c"}, "more": 0}
    copies = [held | {"doubt": "it hung"}]
    text = templating.text("terminal/campaign/held.txt.j2", copies=copies, **values)
    assert "41  4R1W-HVNA  email, 1 try: it hung" in text


def test_no_value_is_in_italics():
    """An underscore in a value (`order_twice`) would end the italics."""
    italics = re.compile(r"(?<!\w)_\{\{|\}\}[.)]?_(?!\w)")
    assert SLACK
    assert not [path.name for path in SLACK if italics.search(path.read_text())]


def _scored(**values) -> tuple[str, str]:
    """A customer's score as it is told in Slack and in the terminal."""
    shown = {"reasons": [], "counterfactuals": [], "recommendations": []}
    shown |= {"customer_id": "7", "pseudonym": "p", "shown_in": "s", "zone": "UTC", "demo": False}
    shown |= {"churn_probability": 0.9, "tier": "high", "expected_value": 12.5, "currency": "EUR"}
    shown |= {"model_version": "rules", "as_of": "2025-01-01T00:00:00+00:00", "action": "wait"}
    shown |= {"second_opinion": None, "merged": None, "note": "", "intent_note": ""}
    shown |= {"preferences": {"summary": ""}, "next_order_at": "2025-02-03T00:00:00+00:00"}
    shown["next_order_between"] = ["2025-01-05T00:00:00+00:00", "2025-03-01T00:00:00+00:00"]
    shown |= {"intent": {"7d": 0.1, "30d": 0.2, "90d": 0.5}, **values}
    card = json.dumps(render.message("score/customer", **shown).blocks, ensure_ascii=False)
    return card, templating.text("terminal/score.txt.j2", result=shown, **shown)


@pytest.mark.parametrize(("chance", "dated"), [(0.49, False), (0.51, True)])
def test_next_order_date_is_shown_only_if_likely(chance, dated):
    for text in _scored(intent={"7d": 0.1, "30d": 0.2, "90d": chance}):
        none = re.search("no order expected within 90 days|will not order within 90 days", text)
        assert ("3 Feb" in text, none is None) == (dated, dated)
        assert "if they stay" in text


def test_unpredictable_order_has_no_date():
    for text in _scored(next_order_at=None, next_order_between=None, intent=None):
        assert "no next order can be predicted" in text.lower()


def test_pseudo_locale_brackets_each_text_of_a_message(templates, monkeypatch):
    monkeypatch.setenv(LANGUAGE, PSEUDO)
    message = render.message(templates(TEMPLATE), name="A & B")
    header, section, actions = message.blocks
    assert message.text == "⟦Hello A &amp; B⟧"
    assert header["text"]["text"] == "⟦A & B⟧"
    assert section["text"]["text"] == "⟦*A &amp; B* & co⟧"
    shown = {"type": "plain_text", "text": "⟦Go⟧"}
    button = {"type": "button", "action_id": "job.cancel", "value": "A & B", "text": shown}
    assert actions["elements"] == [button]


def test_pseudo_locale_stays_within_the_limits_of_slack(templates, monkeypatch):
    monkeypatch.setenv(LANGUAGE, PSEUDO)
    source = """
type: modal
title: {type: plain_text, text: "{{ long }}"}
submit: {type: plain_text, text: "{{ long }}"}
private_metadata: "{{ long }}"
blocks:
  - {type: header, text: {type: plain_text, text: "{{ long }}"}}
  - {type: section, fields: [{type: mrkdwn, text: "{{ long }}{{ long }}"}]}
  - type: input
    label: {type: plain_text, text: "Which"}
    element:
      type: static_select
      action_id: which
      options: [{text: {type: plain_text, text: "{{ name }}"}, value: "{{ name }}"}]
"""
    view = render.view(templates(source), long="word " * 300, name="x" * 75)
    header, section, choice = view["blocks"]
    (option,) = choice["element"]["options"]
    shown = [view["title"], view["submit"], header["text"], section["fields"][0], option["text"]]
    for text, limit in zip(shown, (24, 24, 150, 2000, 75), strict=True):
        assert len(text["text"]) <= limit
        assert (text["text"][0], text["text"][-1]) == ("⟦", "⟧")
    assert view["private_metadata"] == "word " * 300
    assert option["value"] == "x" * 75
