"""``make tour``: film the guided path of the demo, and take a picture of each message.

Everything is a real run: the demo is started, a browser types and clicks, and what it shows is
recorded. The film is docs/tour/tour.gif, the pictures are docs/pictures/NAME.png. Waiting is cut
out; each caption says how long it took.

``python -m tests.make_tour FOLDER`` writes both into another folder.
"""

import io
import re
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont
from playwright.sync_api import Error

from tests.chromium import chromium
from tests.end_to_end.playground_client import demo
from tests.end_to_end.screen import DECODE, SLOW, Screen

ROOT = Path(__file__).parents[1]
WIDTH, HEIGHT, SHOWN = 1280, 800, 880  # the browser's window, and the film's width
TALL = 2000
COLOURS = 96
COMMANDS = {  # a picture of the answer to each
    "help": "help",
    "status": "status",
    "data": "data show",
    "models": "models",
    "jobs": "jobs",
}

NEWS_FOR = 'bought category "Domestic wine" in 365d and store = 367'


class Film:
    """Frames with captions, kept small."""

    def __init__(self) -> None:
        self.frames: list[tuple[Image.Image, int]] = []
        import matplotlib

        fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
        self.font = ImageFont.truetype(str(fonts / "DejaVuSans.ttf"), 17)

    def add(self, png: bytes, caption: str, milliseconds: int) -> None:
        """Add a screenshot, with a caption below it."""
        with Image.open(io.BytesIO(png)) as shot:
            height = round(shot.height * SHOWN / shot.width)
            small = shot.convert("RGB").resize((SHOWN, height), Image.Resampling.LANCZOS)
        frame = Image.new("RGB", (SHOWN, height + 40), (29, 28, 29))
        frame.paste(small, (0, 0))
        ImageDraw.Draw(frame).text((16, height + 9), caption, font=self.font, fill="white")
        self.frames.append((frame, milliseconds))

    def save(self, path: Path) -> None:
        """Write an animated GIF that repeats."""
        images = [frame.quantize(COLOURS, dither=Image.Dither.NONE) for frame, _ in self.frames]
        path.parent.mkdir(parents=True, exist_ok=True)
        images[0].save(
            path,
            save_all=True,
            append_images=images[1:],
            duration=[milliseconds for _, milliseconds in self.frames],
            loop=0,
            optimize=True,
        )


class Tour(Screen):
    """One person after another uses the page."""

    def __init__(self, page: Any, film: Film, pictures: Path) -> None:
        super().__init__(page)
        self.film, self.pictures = film, pictures

    def frame(self, caption: str, milliseconds: int = 1800) -> None:
        """Add what the page shows now to the film."""
        self.shown.evaluate(DECODE)
        self.film.add(self.shown.screenshot(), caption, milliseconds)

    def picture(self, name: str, part: Any, *, tall: bool = True) -> None:
        """Save a picture of one message, window or page.

        In a tall window nothing covers a part of a message.
        """
        self.pictures.mkdir(parents=True, exist_ok=True)
        self.shown.set_viewport_size({"width": WIDTH, "height": TALL if tall else HEIGHT})
        try:
            self._shoot(name, part)
        finally:
            self.shown.set_viewport_size({"width": WIDTH, "height": HEIGHT})

    def _shoot(self, name: str, part: Any) -> None:
        for attempt in range(5):
            self.shown.wait_for_timeout(500)
            try:
                part.evaluate("node => node.scrollIntoView({block: 'start'})")
                self.shown.mouse.move(WIDTH - 5, 5)
                self.shown.evaluate(DECODE)
                part.screenshot(path=self.pictures / f"{name}.png")
                return
            except Error:  # the page drew the message anew meanwhile
                if attempt == 4:
                    raise

    def type(self, line: str, caption: str = "") -> None:
        """Type a line and send it."""
        box = self.shown.locator("#composer-input")
        box.click()
        half = len(line) // 2
        for part in (line[:half], line[half:]):
            self.shown.keyboard.type(part)
            if caption:
                self.frame(caption, 500)
        self.shown.keyboard.press("Escape")
        self.shown.keyboard.press("Enter")

    def answer(self, line: str) -> Any:
        """Send a command and wait until its answer no longer changes."""
        articles = self.shown.locator("#messages article")
        before = articles.count()
        self.type(line)
        self.until(lambda: articles.count() > before)
        article, text = articles.last, ""
        for _ in range(60):
            time.sleep(1.0)
            if (now := articles.last.inner_text()) == text:
                break
            article, text = articles.last, now
        return article

    @staticmethod
    def until(condition: Callable[[], bool]) -> None:
        """Wait for a condition."""
        deadline = time.monotonic() + SLOW / 1000
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError
            time.sleep(0.2)


def record(tour: Tour) -> None:
    """Walk the guided path: list, draft, approval, five weeks, result."""
    page = tour.shown
    welcome = tour.message("customers at risk")
    tour.frame("A retention desk inside Slack", 2500)
    tour.picture("welcome", welcome)
    began = time.monotonic()
    tour.type("/retention sweep", "An analyst asks who is about to leave")
    first = tour.message("at risk", "campaign.draft")
    tour.show(first)
    tour.frame(f"The first list after {time.monotonic() - began:.0f} seconds, by rules", 3500)
    trained = tour.message("model is ready")
    tour.picture("retrain", trained)
    tour.show(trained)
    tour.frame("Meanwhile a better model was trained. Nothing was replaced silently.", 3000)
    lists = page.locator("#messages article", has_text=re.compile("at risk")).filter(
        has=page.locator('[data-action-id="campaign.draft"]')
    )
    for name, line in COMMANDS.items():
        tour.picture(name, tour.answer(f"/retention {line}"))
    tour.type("/retention sweep")
    tour.until(lambda: lists.count() > 1)
    cohort = lists.last
    tour.picture("at_risk_list", cohort)
    tour.show(cohort)
    tour.frame("The list by the trained model: who, how much is at stake, and why", 4500)
    cohort.locator("select").first.select_option(index=1)
    card = page.get_by_role("dialog")
    card.get_by_role("button", name=re.compile("Call|call")).first.wait_for(timeout=SLOW)
    tour.picture("customer_card", card)
    tour.frame("One customer: the risk and its trend, in a sentence, and what to do", 3500)
    page.keyboard.press("Escape")
    card.wait_for(state="detached")
    _campaign(tour, cohort)
    _weeks(tour)
    _test_of_subjects(tour)
    page.locator(".sidebar").get_by_role("link", name=re.compile("Retention Desk")).click()
    page.locator("main").get_by_text("Home", exact=True).click()
    page.wait_for_timeout(4000)
    tour.picture("app_home", page.locator("main"), tall=False)


def _campaign(tour: Tour, cohort: Any) -> None:
    page = tour.shown
    tour.press(cohort, "campaign.draft")
    draft = tour.message("draft", "campaign.submit")
    if draft.locator('[data-action-id="campaign.widen"]').count():
        tour.show(draft)
        tour.frame("The list alone is too small, so the draft offers more customers", 2500)
        tour.press(draft, "campaign.widen")
        draft = tour.message("version 2", "campaign.submit")
    tour.show(draft)
    tour.picture("campaign_draft", draft)
    tour.frame("One click drafts the best campaign that the policy allows", 4500)
    tour.press(draft, "campaign.edit")
    dialog = page.get_by_role("dialog", name="Edit campaign")
    dialog.get_by_label("Hold-out %").wait_for(timeout=SLOW)
    tour.picture("campaign_edit", dialog)
    tour.frame("Everything can be edited; the thread keeps what changed", 2500)
    page.keyboard.press("Escape")
    dialog.wait_for(state="detached")
    tour.press(tour.message("draft", "campaign.submit"), "campaign.submit")
    tour.message(having="campaign.approve")
    tour.become("Leo Okafor")
    submitted = tour.message(having="campaign.approve")
    tour.show(submitted)
    tour.frame("A second person approves", 2500)
    tour.press(submitted, "campaign.approve", sure="Approve")
    page.locator('[data-action-id="campaign.approve"]').first.wait_for(
        state="detached", timeout=SLOW
    )
    approved = tour.message("Approved.*Leo Okafor")
    tour.show(approved)
    tour.picture("campaign_approved", approved)
    tour.frame("Codes go out after the clearance time, except to the hold-out group", 3000)


def _weeks(tour: Tour) -> None:
    tour.weeks(1)
    digest = tour.message("week to")
    tour.show(digest)
    tour.picture("digest", digest)
    tour.frame("Monday's digest says what changed", 3500)
    for number in range(2, 6):
        tour.weeks(1)
        tour.frame(f"Week {number}: the shop's real orders come in", 700)
    result = tour.message("Promised")
    tour.show(result)
    tour.picture("campaign_result", result)
    tour.frame("The measured profit, against the hold-out group (simulated responses)", 6000)


def _test_of_subjects(tour: Tour) -> None:
    """Send product news with two subjects to the wine buyers of one store, and see who wins."""
    tour.become("Ana Moreau")
    tour.type(f"/retention audience save wine-buyers {NEWS_FOR}")
    tour.press(tour.message("would be in the audience", "audience.save"), "audience.save")
    tour.type("/retention campaign draft --kind product_news --audience wine-buyers")
    draft = tour.message("Draft: Product news", "campaign.submit")
    tour.picture("campaign_product_news", draft)
    variants = f"/retention campaign variants {draft.locator('code').first.inner_text()}"
    tour.answer(f'{variants} --variant B --subject "Only for you"')
    tour.press(tour.message("Draft: Product news", "campaign.submit"), "campaign.submit")
    tour.message("Waiting for approval: Product news", "campaign.approve")
    tour.become("Leo Okafor")
    submitted = tour.message("Waiting for approval: Product news", "campaign.approve")
    tour.press(submitted, "campaign.approve", sure="Approve")
    tour.message("Approved: Product news")
    tour.picture("calendar", tour.answer("/retention calendar --country US"))
    tour.weeks(6)
    tour.picture("campaign_variants", tour.answer(variants.replace("variants", "show")))


def main(folder: Path | None = None) -> None:
    """Record the tour into a folder, or into docs/."""
    gif = (folder or ROOT / "docs" / "tour") / "tour.gif"
    pictures = folder or ROOT / "docs" / "pictures"
    film = Film()
    with tempfile.TemporaryDirectory(prefix="tour") as home:
        log = Path(home) / "demo.log"
        with demo(Path(home) / "home", log=log) as desk, chromium() as browser:
            page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
            page.goto(str(desk.http.base_url))
            record(Tour(page, film, pictures))
    film.save(gif)
    print(f"wrote {gif} ({gif.stat().st_size / 1e6:.1f} MB) and the pictures in {pictures}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if sys.argv[1:] else None)
