"""Test that each button, menu and window needs its role."""

from tests.bot.slack.test_slash import all_jobs, until
from tests.bot.wire import VIEWER, words
from workers import action_ids

# What is pressed, with the value of the button, by the role that it needs.
NEEDED = {
    "analyst": {
        action_ids.CLOSE_CHAT: "chat1",
        action_ids.DRAFT_CAMPAIGN: "C7",
        action_ids.COHORT_CSV: "C7",
        action_ids.OPEN_CUSTOMER: "4R1W-HVNA|C7",
        action_ids.EDIT_CAMPAIGN: "c7:1",
        action_ids.WIDEN_CAMPAIGN: "c7:1",
        action_ids.CHEAPER_CAMPAIGN: "c7:1",
        action_ids.SUBMIT_CAMPAIGN: "c7:1",
        action_ids.CAMPAIGN_CSV: "c7:1",
        action_ids.CALL_LIST: "c7:1",
        action_ids.CAMPAIGN_MENU: "copy|c7:1",
        action_ids.PREVIEW_EMAIL: "c7:1",
        action_ids.FOLLOW_UP: "c7:1:repeat",
        action_ids.CARD_CALL: "card",
        action_ids.CARD_PAUSE: "pause|card",
        action_ids.CARD_NOTE: "card",
        action_ids.CARD_MORE: "details|card",
        action_ids.OPEN_CALL: "c7|4R1W-HVNA",
        action_ids.DIGEST_SETTINGS: "",
        action_ids.FEEDBACK: "wrong|4R1W-HVNA|churn-1|2017-12-01",
        action_ids.FEEDBACK_USEFUL: "useful|4R1W-HVNA|churn-1|2017-12-01",
        action_ids.FEEDBACK_WRONG: "wrong|4R1W-HVNA|churn-1|2017-12-01",
        action_ids.FEEDBACK_ITEM: "wrong|job1|4R1W-HVNA|1",
        action_ids.SAVE_AUDIENCE: "job1",
        action_ids.AUDIENCE_SWEEP: "vips",
        action_ids.AUDIENCE_DRAFT: "vips",
        action_ids.EDIT_AUDIENCE: "new",
        action_ids.SCHEDULE_MENU: "pause|1",
        action_ids.ALERT_MENU: "mute|vip-risk",
        action_ids.ALERT_TEST: "vip-risk",
        action_ids.ALERT_ON: "vip-risk",
        action_ids.HOME_RUN: "sweep",
        action_ids.RUN_COMMAND: "sweep",
    },
    "approver": {
        action_ids.APPROVE_CAMPAIGN: "c7:1",
        action_ids.DESK_APPROVE: "c7:1",
        action_ids.REJECT_CAMPAIGN: "c7:1",
        action_ids.STOP_CAMPAIGN: "c7:1",  # of somebody else, before its approval
    },
    "admin": {
        action_ids.FORGET: "42",
        action_ids.CHANGE_POLICY: "",
        action_ids.SOURCE_MENU: "pause|orders",
        action_ids.SOURCE_ACCEPT: "orders",
        action_ids.FILE_TABLE: "items|job1",
        action_ids.FILE_IMPORT: "job1",
        action_ids.FILE_CANCEL: "job1",
    },
}
# Everyone may press these, or has seen a window that needs the role, or has a signed value. Only
# the person who said them asks the words of a voice message.
OPEN = {
    *(action_ids.CANCEL_JOB, action_ids.RETRY_JOB, action_ids.RETRAIN_MODEL),
    *(action_ids.COHORT_DETAILS, action_ids.CALL_OWNER, action_ids.OPEN_CAMPAIGN),
    *(action_ids.OPEN_APPROVALS, action_ids.OPEN_BUILDER),
    *(action_ids.PREVIEW_COPY, action_ids.SEND_TO_ME),
    *(action_ids.BUILDER_TASK, action_ids.BUILDER_START, action_ids.BUILDER_FIELD),
    *(action_ids.AUDIENCE_FIELD, action_ids.AUDIENCE_ROW, action_ids.AUDIENCE_BACK),
    *(action_ids.ASK_RUN, action_ids.ASK_DECLINE, action_ids.ASK_ALTERNATIVE, action_ids.ASK_HEARD),
}
WINDOWS = (
    *((action_ids.EDIT_VIEW, "c7:1:C0CRM", "name"), (action_ids.COPY_VIEW, "c7:1:C0CRM", "copy")),
    *((action_ids.NOTE_VIEW, "card", "note"), (action_ids.CALL_VIEW, "c7|4R1W-HVNA|card", "note")),
    (action_ids.FEEDBACK_VIEW, "wrong|4R1W-HVNA|churn-1|2017-12-01|C0CRM", "reason"),
)


def test_each_click_is_checked_or_open_to_everyone():
    names = {name: value for name, value in vars(action_ids).items() if name.isupper()}
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
