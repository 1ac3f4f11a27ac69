"""Test recommendations and the report about them as Slack messages."""

import json
from datetime import timedelta

from retention import clock
from retention.db.tables import DirectoryEntry
from tests.retention.recommend.responses_shop import NOW, make_responses_shop, send_campaign
from workers.delivery import render
from workers.job_requests import Recommend, RecommendReport
from workers.tasks import runner
from workers.tasks.interface import Context
from workers.tasks.models import model_reports


def test_recommendations_name_the_customer_to_the_requester(shop_copy):
    database = shop_copy.database
    clock.configure(fixed=shop_copy.end - timedelta(days=21))
    with database.reading() as session:
        customer = session.query(DirectoryEntry).order_by(DirectoryEntry.customer_id).first()
    result = runner.run_inline(
        database,
        Recommend(customer_id=customer.pseudonym, k=3),
        user="operator",
        progress=lambda *_: None,
    )
    assert result["customer_id"] == customer.customer_id
    assert len(result["items"]) == 3
    assert set(result["items"][0]) == {"item_id", "title", "score", "source", "why"}
    message = render.message(
        "recommend/list",
        **result,
        more=0,
        pseudonym="c-1",
        shown_in="1",
        zone="UTC",
        demo=False,
        currency="",
    )
    assert result["items"][0]["title"] in json.dumps(message.blocks, ensure_ascii=False)


def test_recommend_report_posts_a_message_and_a_page(tmp_path):
    shop = send_campaign(make_responses_shop(tmp_path))
    context = Context(
        shop.database,
        job_id="j",
        attempt=1,
        requested_by="U1",
        channel="C1",
        thread_key=None,
        business_at=NOW,
    )
    outcome = model_reports.run_recommend_report(RecommendReport(days=90, as_of=NOW), context)
    message, page = outcome.posts
    rendered = render.message(
        message.template,
        zone="UTC",
        demo=False,
        **{k: v for k, v in message.values.items() if k != "demo"},
    )
    blocks = " ".join(str(block) for block in rendered.blocks)
    assert "By place" in blocks
    assert "bought before" in blocks
    assert message.images["rates"].content.startswith(b"\x89PNG")
    assert "place 3: 50.0% clicked" in message.images["rates"].alt_text
    html = page.file.content.decode()
    assert "<script" not in html
    assert "By week" in html
    assert "bought before" in html
    assert "buy_again" not in html
