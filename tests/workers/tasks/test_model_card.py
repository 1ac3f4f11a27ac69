"""Test the task that posts a model card."""

from types import SimpleNamespace

import pytest

from workers.delivery import render
from workers.job_requests import ModelCard
from workers.tasks.models.model_reports import run_model_card


@pytest.mark.nightly
def test_card_task_posts_a_message_and_the_page_in_its_thread(champion_shop_copy):
    shop = champion_shop_copy
    context = SimpleNamespace(
        settings=shop.settings, database=shop.database, job_id="j1", progress=lambda *_: None
    )
    outcome = run_model_card(ModelCard(), context)
    message, page = outcome.posts
    rendered = render.message(message.template, zone="UTC", **message.values)
    assert "Model card" in rendered.text
    assert (page.file.mime, page.thread_key) == ("text/html", "job:j1")
