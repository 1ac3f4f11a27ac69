"""Test that each button, menu and window needs its role."""

from tests.bot.slack.test_slash import all_jobs, until
from tests.bot.wire import VIEWER, words
from workers import slack_ids

# What is pressed, with the value of the button, by the role that it needs.
NEEDED = {
    "analyst": {
        slack_ids.DRAFT_CAMPAIGN: "C7",
        slack_ids.COHORT_CSV: "C7",
        slack_ids.OPEN_CUSTOMER: "4R1W-HVNA|C7",
        slack_ids.EDIT_CAMPAIGN: "c7:1",
        slack_ids.WIDEN_CAMPAIGN: "c7:1",
        slack_ids.CHEAPER_CAMPAIGN: "c7:1",
        slack_ids.SUBMIT_CAMPAIGN: "c7:1",
        slack_ids.CAMPAIGN_CSV: "c7:1",
        slack_ids.CALL_LIST: "c7:1",
        slack_ids.CAMPAIGN_MENU: "copy|c7:1",
        slack_ids.PREVIEW_EMAIL: "c7:1",
        slack_ids.FOLLOW_UP: "c7:1:repeat",
        slack_ids.CARD_CALL: "card",
        slack_ids.CARD_PAUSE: "pause|card",
        slack_ids.CARD_NOTE: "card",
        slack_ids.CARD_MORE: "details|card",
        slack_ids.OPEN_CALL: "c7|4R1W-HVNA",
        slack_ids.DIGEST_SETTINGS: "",
        slack_ids.FEEDBACK: "wrong|4R1W-HVNA|churn-1|2017-12-01",
        slack_ids.FEEDBACK_USEFUL: "useful|4R1W-HVNA|churn-1|2017-12-01",
        slack_ids.FEEDBACK_WRONG: "wrong|4R1W-HVNA|churn-1|2017-12-01",
        slack_ids.FEEDBACK_ITEM: "wrong|job1|4R1W-HVNA|1",
        slack_ids.SAVE_AUDIENCE: "job1",
        slack_ids.AUDIENCE_SWEEP: "vips",
        slack_ids.AUDIENCE_DRAFT: "vips",
        slack_ids.EDIT_AUDIENCE: "new",
        slack_ids.SCHEDULE_MENU: "pause|1",
        slack_ids.ALERT_MENU: "mute|vip-risk",
        slack_ids.ALERT_TEST: "vip-risk",
        slack_ids.ALERT_ON: "vip-risk",
        slack_ids.HOME_RUN: "sweep",
        slack_ids.RUN_COMMAND: "sweep",
    },
    "approver": {
        slack_ids.APPROVE_CAMPAIGN: "c7:1",
        slack_ids.DESK_APPROVE: "c7:1",
        slack_ids.REJECT_CAMPAIGN: "c7:1",
        slack_ids.STOP_CAMPAIGN: "c7:1",  # of somebody else, before its approval
    },
    "admin": {
        slack_ids.FORGET: "42",
        slack_ids.SOURCE_MENU: "pause|orders",
        slack_ids.SOURCE_ACCEPT: "orders",
        slack_ids.FILE_TABLE: "items|job1",
        slack_ids.FILE_IMPORT: "job1",
        slack_ids.FILE_CANCEL: "job1",
    },
}
# Everyone may press these, or has seen a window that needs the role, or has a signed value.
OPEN = {
    *(
        slack_ids.CANCEL_JOB,
        slack_ids.RETRY_JOB,
        slack_ids.RETRAIN_MODEL,
        slack_ids.COHORT_DETAILS,
        slack_ids.CALL_OWNER,
    ),
    *(
        slack_ids.OPEN_APPROVALS,
        slack_ids.OPEN_CAMPAIGN,
        slack_ids.OPEN_BUILDER,
        slack_ids.PREVIEW_COPY,
        slack_ids.SEND_TO_ME,
    ),
    *(slack_ids.BUILDER_TASK, slack_ids.BUILDER_START, slack_ids.BUILDER_FIELD),
    *(slack_ids.AUDIENCE_FIELD, slack_ids.AUDIENCE_ROW, slack_ids.AUDIENCE_BACK),
    *(slack_ids.ASK_RUN, slack_ids.ASK_DECLINE, slack_ids.ASK_ALTERNATIVE),
}
WINDOWS = (
    *((slack_ids.EDIT_VIEW, "c7:1:C0CRM", "name"), (slack_ids.COPY_VIEW, "c7:1:C0CRM", "copy")),
    *((slack_ids.NOTE_VIEW, "card", "note"), (slack_ids.CALL_VIEW, "c7|4R1W-HVNA|card", "note")),
    (slack_ids.FEEDBACK_VIEW, "wrong|4R1W-HVNA|churn-1|2017-12-01|C0CRM", "reason"),
)


def test_each_click_is_checked_or_open_to_everyone():
    names = {name: value for name, value in vars(slack_ids).items() if name.isupper()}
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
