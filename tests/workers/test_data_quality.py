"""The quality report as the worker makes it: a message with its picture, and the page in its thread."""

import json
from datetime import timedelta

from retention import clock
from workers.delivery import render
from workers.requests import DataQuality
from workers.tasks import data_quality
from workers.tasks.interface import Context


def test_quality_report_posts_message_chart_and_page(shop):
    clock.configure(fixed=shop.end + timedelta(days=1))
    outcome = data_quality.run(
        DataQuality(),
        Context(
            shop.settings,
            shop.database,
            job_id="j",
            attempt=1,
            requested_by="U0ANA",
            channel="C0CRM",
            thread_key=None,
            business_at=shop.end,
        ),
    )
    message, page = outcome.posts
    shown = render.message(message.template, **{"zone": "UTC", **message.values})
    said = json.dumps(shown.blocks, ensure_ascii=False)
    assert "calendar features need 13" in said
    assert "c0001" not in said
    assert message.images["volume"].content.startswith(b"\x89PNG")
    assert page.thread_key == "job:j"
    assert b"<!doctype html>" in page.file.content[:200]
    assert json.dumps(outcome.data)
