"""Test that sentences become the right commands, and never a change by mistake."""

import json
import threading
from dataclasses import fields
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from pydantic import SecretStr

from bot.ask import Subject, Understanding, understand
from bot.ask.endpoint import ask_endpoint
from bot.ask.references import ShopNames
from bot.ask.result import CHANGING, READING
from bot.ask.sentence import clean, correct, distance
from bot.commands.catalogue import entries
from bot.commands.parsing import parse
from bot.commands.tree import root
from retention.settings import Settings
from tests.benchmarks import ask

TODAY = date(2017, 10, 2)
LEVEL = 0.98  # exact commands on the tune half
WEEK_LEVEL = 0.9  # on the sentences that six weeks of use misread


@pytest.mark.parametrize(
    ("half", "level", "size"),
    [("tune", LEVEL, 200), ("week", WEEK_LEVEL, 120), ("audiences", WEEK_LEVEL, 40)],
)
def test_sentences_are_read_and_a_misread_one_runs_and_proposes_no_change(half, level, size):
    results = ask.results(half)
    wrong = [result for result in results if not result.is_exact]
    assert len(results) >= size
    assert 1 - len(wrong) / len(results) >= level, [result.case.sentence for result in wrong]
    changing = [one for one in results if one.runs_wrong_change or one.proposes_wrong_change]
    assert not [result.case.sentence for result in changing]


def test_evaluation_has_400_sentences_in_two_halves_of_styles():
    tune, report = ask.read("tune"), ask.read("report")
    assert len(tune) + len(report) >= 400
    assert not {case.style for case in tune} & {case.style for case in report}


def read(sentence: str, subject: Subject | None = None, **names) -> Understanding:
    return understand(sentence, TODAY, subject, ShopNames(**names))


@pytest.mark.parametrize(
    ("sentence", "command", "unused"),
    [
        ("why is household 1243 at risk", "score 1243", ""),
        ("谁快流失了？", "sweep", ""),
        ("/retention sweep --tier medium", "sweep --tier medium", ""),
        ("sweep --top 5", "sweep --top 5", ""),
        ("which alerts are there?", "alert list", ""),
        ("what is scheduled?", "schedule list", ""),
        ("did our forecasts hold?", "report promises", ""),
        ("what did the programme earn?", "report programme", ""),
        ("mute the alerts", None, ""),
        ("show my call list", "campaign my-calls", ""),
        ("my calls", "campaign my-calls", ""),
        ("我的通话名单。", "campaign my-calls", ""),
        ("at the end of the month, retrain the models", "retrain", ""),  # no "stop"
        ("who are our new customers", "customers --order newest", ""),
        ("新客户有哪些", "customers --order newest", ""),
        ("how many new customers last week", "sales --from 2017-09-25 --to 2017-10-01", ""),
        # A group in capitals is no person.
        ("show me the risk of New York customers", "sweep", "New York"),
        ("show me the risk for Gold Members", "sweep", "Gold Members"),
        ("churn risk for Tea Lovers", "sweep", "Tea Lovers"),
        ("show me the risk for Platinum Card club members", "sweep", "Platinum Card"),
        ("risk of customer Marta Fischer", 'score "Marta Fischer"', ""),
        ("why is Paul Rogers at risk?", 'score "Paul Rogers"', ""),
        # A period before the calendar, a constraint without an option, a second deed.
        ("sales last 3000 years", "sales", "last 3000 years"),
        ("sales last 30000 months", "sales", "last 30000 months"),
        ("sales last 99999999 days", "sales", "last 99999999 days"),
        ("who is about to leave in Berlin?", "sweep", "in Berlin"),
        ("give 887 a 10% coupon", "campaign draft --discount 10", "887"),
        ("submit c3fk92m and approve it", "campaign submit c3fk92m", "approve it"),
        ("show me the risk, thank you", "sweep", ""),
        ("thank you, please send it", None, ""),
        ("don't send product news", None, ""),
        ("send product news tomorrow", "campaign draft --kind product_news", "tomorrow"),
        ("who ordered at store 12 last week?", 'customers --where "store = 12"', "last week"),
        ("customers who never bought wine", 'customers --where "not bought category wine"', ""),
        # Idioms, and a value that the tree refuses.
        ("forget it", None, ""),
        ("forget about that", None, ""),
        ("stop", None, ""),
        ("cancel it", None, ""),
        ("", None, ""),
        ("top 99999999 customers at risk", None, ""),
        (
            'stop campaign c3fk92m because "x" --version 9',
            "campaign stop c3fk92m --reason \"'x' --version 9\"",
            "",
        ),
        ("draft for these", "campaign draft", ""),
        ("go back to the previous churn model", "models rollback churn", ""),
    ],
)
def test_sentence_becomes_the_command_and_names_the_rest(sentence, command, unused):
    understanding = read(sentence)
    assert understanding.command == command
    assert unused in " ".join(understanding.unused)


@pytest.mark.parametrize(
    "sentence", ["stop the model training", "cancel the retraining", "停止训练模型"]
)
def test_stopping_the_training_offers_no_training(sentence):
    understanding = read(sentence)
    assert understanding.command is None
    assert "retrain" not in understanding.alternatives
    assert understanding.alternatives[0] == "jobs list"


def test_words_that_no_customer_has_as_a_name_are_no_person():
    sentence = "will Premium Plus churn?"
    understanding = read(sentence, may_be_person=lambda name: False)
    assert understanding.command == "sweep"
    assert "Premium Plus" in " ".join(understanding.unused)
    assert read(sentence, may_be_person=lambda name: True).command == 'score "Premium Plus"'


@pytest.mark.parametrize(
    ("sentence", "command"),
    [
        ("draft for these", "campaign draft --cohort 3f9a21cd"),
        ("which of them spend the most?", "sweep --tier medium --order spend"),
        ("其中谁花钱最多？", "sweep --tier medium --order spend"),
        ("top 5 of them", "sweep --tier medium --top 5"),
    ],
)
def test_thread_of_a_list_gives_the_object(sentence, command):
    subject = Subject(command="sweep --tier medium", cohort="3f9a21cd")
    assert read(sentence, subject).command == command


def test_without_a_command_the_thread_gives_the_alternatives():
    understanding = read("hm?", Subject(campaign="c3fk92m"))
    assert understanding.command is None
    assert understanding.alternatives[0] == "campaign result c3fk92m"


def test_every_command_is_a_change_unless_it_is_known_to_read():
    names = {entry.name for entry in entries(root())}
    assert names >= READING
    assert names >= CHANGING
    assert not READING & CHANGING


def test_markup_and_typos_of_the_field_are_corrected_and_other_words_stay():
    assert clean("<@U0BOT> *who*  is at risk？ :wave:") == "who is at risk?"
    assert correct("drfat a campaing for custmers") == "draft a campaign for customers"
    other = "send the graft to Maria, please retain it"
    assert correct(other) == other
    assert distance("rsik", "risk") == 1


def test_terminal_prints_json_and_runs_nothing(home, cli):
    said = cli.json("ask 'draft a campaign'")
    assert (said["understood"], said["changes"]) == ("campaign draft", True)
    assert {*said} == {field.name for field in fields(Understanding)} - {"command"} | {"understood"}


# ---------------------------------------------------------------- saved audiences


def test_saved_audience_limits_the_command_and_another_is_named_as_unused():
    sentence = "draft 10% for the lapsing-berlin audience"
    understanding = read(sentence, audiences=("lapsing-berlin",))
    command = "campaign draft --discount 10 --audience lapsing-berlin"
    assert (understanding.command, understanding.unused) == (command, ())
    understanding = read("who is at risk in the audience loyal", audiences=("vip",))
    assert understanding.command == "sweep"
    assert "loyal" in " ".join(understanding.unused)


# ---------------------------------------------------------------- places

PLACES = {
    "berlin": ("city", "Berlin"),
    "hamburg": ("city", "Hamburg"),
    "new york": ("city", "New York"),
    "上海": ("city", "上海"),
    "北京市": ("city", "北京市"),
    "bavaria": ("state", "Bavaria"),
}


@pytest.mark.parametrize(
    ("sentence", "command"),
    [
        ("who is about to leave in Berlin?", 'sweep --where "city = Berlin"'),
        ("谁在上海快流失了？", 'sweep --where "city = 上海"'),
        ("北京的高风险客户", 'sweep --tier high --where "city = 北京市"'),
        ("Berlin customers at risk", 'sweep --where "city = Berlin"'),
        ("who is at risk in new york?", "sweep --where 'city = \"New York\"'"),
        ("who is at risk in Berlin or Hamburg", 'sweep --where "city in (Berlin, Hamburg)"'),
        ("at risk in Berlin and Bavaria", 'sweep --where "city = Berlin or state = Bavaria"'),
        ("draft 9% for customers in Berlin", 'campaign draft --discount 9 --where "city = Berlin"'),
    ],
)
def test_place_of_the_shops_customers_becomes_a_condition(sentence, command):
    understanding = read(sentence, places=lambda: PLACES)
    assert (understanding.command, understanding.unused) == (command, ())
    assert parse(command).params["where"]


@pytest.mark.parametrize("sentence", ["who is at risk in Paris?", "谁在深圳快流失了？"])
@pytest.mark.parametrize(("places", "gap"), [(PLACES, "value"), ({}, "field")])
def test_place_that_the_data_lacks_is_named_with_what_is_missing(sentence, places, gap):
    understanding = read(sentence, places=lambda: places)
    assert understanding.command == "sweep"
    assert understanding.place_gap == gap
    assert understanding.unused


def test_follow_up_keeps_the_list_s_audience_and_changes_its_place():
    subject = Subject(command='sweep --audience vip --where "city = Berlin"')
    understanding = read("and in New York?", subject, places=lambda: PLACES)
    assert understanding.command == "sweep --audience vip --where 'city = \"New York\"'"


def test_places_are_not_read_for_a_sentence_that_names_none():
    def places():
        raise AssertionError

    assert read("who is at risk?", places=places).command == "sweep"


# ---------------------------------------------------------------- names and regular commands

CAMPAIGNS = {"c3fk92m": "October win-back", "c8qd41x": "High risk, 2 Oct 2017", "c7ab23d": "Coffee"}


@pytest.mark.parametrize(
    ("sentence", "command"),
    [
        ("who was at high risk on 2 Oct 2017", "sweep --tier high --as-of 2017-10-02"),
        ("who bought coffee", 'customers --where "bought category coffee"'),
        ("draft an october campaign", "campaign draft"),
        ("show the campaign of 2 October", "campaign list"),
        ("approve coffee", "campaign approve c7ab23d"),
    ],
)
def test_name_of_a_campaign_does_not_take_over_other_sentences(sentence, command):
    assert read(sentence, campaigns=CAMPAIGNS).command == command


IN_CAMPAIGN = Subject(command="campaign show c3fk92m", campaign="c3fk92m")
IN_LIST = Subject(command="sweep", cohort="3f9a21cd", customers=("KGQP-CA8T", "MN3W-7XQD"))


@pytest.mark.parametrize(
    ("sentence", "subject"),
    [
        ("stop the summer campaign", IN_CAMPAIGN),
        ("停止夏季活动", IN_CAMPAIGN),
        ("the bus stop is closed", IN_CAMPAIGN),
        ("at the end of the day it worked", IN_CAMPAIGN),
        ("cancel the meeting", IN_CAMPAIGN),
        ("will it stop on friday?", IN_CAMPAIGN),
        ("等一下再停", IN_CAMPAIGN),
        ("call it a day", IN_CAMPAIGN),
        ("the mail with free shipping was late", None),
        ("send me the coupon report", None),
        ("forget the second one", IN_LIST),
        ("forget about Marta Fischer", None),
        ("go back", Subject(command="models list")),
        ("approve the october campaign and coffee", None),
    ],
)
def test_remark_offers_no_change(sentence, subject):
    assert read(sentence, subject, campaigns=CAMPAIGNS).command is None


def test_deed_on_no_campaign_does_not_offer_a_draft():
    understanding = read("stop the summer campaign", campaigns=CAMPAIGNS)
    assert understanding.alternatives[0] == "campaign list"
    assert "campaign draft" not in understanding.alternatives


@pytest.mark.parametrize(
    "sentence",
    [
        "customers at risk who order every monday",
        "did we get the list every monday at 9?",
        "don't send the list every monday at 9",
        "should we post the list every monday at 9?",
    ],
)
def test_remark_about_weekdays_schedules_nothing(sentence):
    assert not read(sentence).changes


# ---------------------------------------------------------------- a language model


class Model:
    """An OpenAI-compatible endpoint with a prepared answer."""

    def __init__(self, answer):
        self.answer, self.asked = answer, []

    def __enter__(self):
        model = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                model.asked.append((self.path, self.headers.get("Authorization"), body))
                said = json.dumps({"choices": [{"message": {"content": model.answer}}]}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

            def log_message(self, *_): ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        url = f"http://127.0.0.1:{self.server.server_port}/v1"
        self.settings = Settings(ask_url=url, ask_key=SecretStr("k1"), _env_file=None)
        return self

    def __exit__(self, *_):
        self.server.shutdown()


def test_model_is_not_asked_unless_it_is_configured():
    assert ask_endpoint(Settings(_env_file=None), "how do we look?") is None


def test_model_may_answer_with_a_reading_command():
    with Model("`/retention sweep --tier medium`") as model:
        understanding = ask_endpoint(model.settings, "how do we look?")
    assert understanding is not None
    assert understanding.command == "sweep --tier medium"
    assert model.asked[0][:2] == ("/v1/chat/completions", "Bearer k1")


@pytest.mark.parametrize(
    "answer", ["campaign draft", "forget 42", "role grant U1 admin", "rm -rf /", "none", ""]
)
def test_model_cannot_change_anything(answer):
    with Model(answer) as model:
        assert ask_endpoint(model.settings, "how do we look?") is None


@pytest.mark.parametrize("customer", ["ann@example.com", "Marta Fischer"])
def test_address_or_name_of_a_customer_is_not_sent_to_the_model(customer):
    with Model("sweep") as model:
        assert ask_endpoint(model.settings, f"what about {customer}") is None
        assert model.asked == []
