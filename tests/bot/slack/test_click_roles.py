"""Test that each button, menu and window needs its role."""

from tests.bot.slack.test_slash import all_jobs, until
from tests.bot.wire import VIEWER, words
from workers import ids

# What is pressed, with the value of the button, by the role that it needs.
NEEDED = {
    "analyst": {
        ids.DRAFT_CAMPAIGN: "C7",
        ids.COHORT_CSV: "C7",
        ids.OPEN_CUSTOMER: "4R1W-HVNA|C7",
        ids.EDIT_CAMPAIGN: "c7:1",
        ids.WIDEN_CAMPAIGN: "c7:1",
        ids.CHEAPER_CAMPAIGN: "c7:1",
        ids.SUBMIT_CAMPAIGN: "c7:1",
        ids.CAMPAIGN_CSV: "c7:1",
        ids.CALL_LIST: "c7:1",
        ids.CAMPAIGN_MENU: "copy|c7:1",
        ids.PREVIEW_EMAIL: "c7:1",
        ids.FOLLOW_UP: "c7:1:repeat",
        ids.CARD_CALL: "card",
        ids.CARD_PAUSE: "pause|card",
        ids.CARD_NOTE: "card",
        ids.CARD_MORE: "details|card",
        ids.OPEN_CALL: "c7|4R1W-HVNA",
        ids.DIGEST_SETTINGS: "",
        ids.FEEDBACK: "wrong|4R1W-HVNA|churn-1|2017-12-01",
        ids.FEEDBACK_USEFUL: "useful|4R1W-HVNA|churn-1|2017-12-01",
        ids.FEEDBACK_WRONG: "wrong|4R1W-HVNA|churn-1|2017-12-01",
        ids.FEEDBACK_ITEM: "wrong|job1|4R1W-HVNA|1",
        ids.SAVE_AUDIENCE: "job1",
        ids.AUDIENCE_SWEEP: "vips",
        ids.AUDIENCE_DRAFT: "vips",
        ids.EDIT_AUDIENCE: "new",
        ids.SCHEDULE_MENU: "pause|1",
        ids.ALERT_MENU: "mute|vip-risk",
        ids.ALERT_TEST: "vip-risk",
        ids.ALERT_ON: "vip-risk",
        ids.HOME_RUN: "sweep",
        ids.RUN_COMMAND: "sweep",
    },
    "approver": {
        ids.APPROVE_CAMPAIGN: "c7:1",
        ids.DESK_APPROVE: "c7:1",
        ids.REJECT_CAMPAIGN: "c7:1",
        ids.STOP_CAMPAIGN: "c7:1",  # of somebody else, before its approval
    },
    "admin": {
        ids.FORGET: "42",
        ids.SOURCE_MENU: "pause|orders",
        ids.SOURCE_ACCEPT: "orders",
        ids.FILE_TABLE: "items|job1",
        ids.FILE_IMPORT: "job1",
        ids.FILE_CANCEL: "job1",
    },
}
# Everyone may press these, or has seen a window that needs the role, or has a signed value.
OPEN = {
    *(ids.CANCEL_JOB, ids.RETRY_JOB, ids.RETRAIN_MODEL, ids.COHORT_DETAILS, ids.CALL_OWNER),
    *(ids.OPEN_APPROVALS, ids.OPEN_CAMPAIGN, ids.OPEN_BUILDER, ids.PREVIEW_COPY, ids.SEND_TO_ME),
    *(ids.BUILDER_TASK, ids.BUILDER_START, ids.BUILDER_FIELD),
    *(ids.AUDIENCE_FIELD, ids.AUDIENCE_ROW, ids.AUDIENCE_BACK),
    *(ids.ASK_RUN, ids.ASK_DECLINE, ids.ASK_ALTERNATIVE),
}
WINDOWS = (
    *((ids.EDIT_VIEW, "c7:1:C0CRM", "name"), (ids.COPY_VIEW, "c7:1:C0CRM", "copy")),
    *((ids.NOTE_VIEW, "card", "note"), (ids.CALL_VIEW, "c7|4R1W-HVNA|card", "note")),
    (ids.FEEDBACK_VIEW, "wrong|4R1W-HVNA|churn-1|2017-12-01|C0CRM", "reason"),
)


def test_each_click_is_checked_or_open_to_everyone():
    names = {name: value for name, value in vars(ids).items() if name.isupper()}
    not_pressed = ("_VIEW", "_MESSAGE", "_GLOBAL", "_EVENT")
    pressed = {
        value
        for name, value in names.items()
        if isinstance(value, str) and name[0] != "_" and not name.endswith(not_pressed)
    }
    assert pressed == OPEN.union(*NEEDED.values())


def test_click_of_a_viewer_is_refused_with_the_role_it_needs(workspace, api, database, draft):
    for role, clicks in NEEDED.items():
        for number, (action_id, value) in enumerate(clicks.items()):
            api.calls.clear()
            workspace.press(action_id, value, f"U0{role}{number}")  # one person has a limit
            (refusal,) = until(lambda: api.named("response_url"))
            assert f"you need {role}" in words(refusal["blocks"]), action_id
            assert not api.named("views.open")
    assert all_jobs(database) == []


def test_window_of_a_viewer_stays_open_with_the_role_it_needs(workspace, draft):
    for callback, metadata, block in WINDOWS:
        answer = workspace.submit(callback, metadata, {block: {"value": "x"}}, VIEWER)
        assert "you need analyst" in answer["errors"][block], callback
