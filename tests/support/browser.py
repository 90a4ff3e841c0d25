"""Headless Chromium that reaches no other host, and notes what a page does wrong."""

import os
import shutil
from contextlib import contextmanager

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
WHERE = (
    "Chromium is needed: `apt-get install chromium` (Debian), or its path in CHROMIUM, and `pip install playwright`."
)


@contextmanager
def browser():
    """Give a browser; where there is none the test is skipped, with a sentence on how to get one."""
    playwright = pytest.importorskip("playwright.sync_api", reason=WHERE)
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip(WHERE)
    with playwright.sync_playwright() as started:
        found = started.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield found
        found.close()


class Visit:
    """A page in a context of its own: what it asked of others, and what it complained of."""

    def __init__(self, browser, path, fragment="", **context):
        self.requests, self.errors = [], []
        self.page = browser.new_context(**({"viewport": {"width": 1280, "height": 900}} | context)).new_page()
        self.page.route("**/*", self._only(path))
        self.page.on("console", lambda said: self.errors.append(said.text) if said.type in ("error", "warning") else 0)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.errors.append(f"dialog {dialog.message}"), dialog.dismiss()))
        self.page.goto(f"file://{path}{fragment}")
        self.page.wait_for_selector("[data-drawn]")

    def _only(self, path):
        def answer(route):
            if route.request.url.split("#")[0] == f"file://{path}":
                return route.continue_()
            self.requests.append(route.request.url)
            return route.abort()

        return answer

    def count(self, selector):
        """How many elements a selector finds."""
        return self.page.locator(selector).count()

    def draw_all(self):
        """Scroll to every chart, and wait until it is drawn."""
        for place in self.page.locator("[data-chart]").all():
            place.scroll_into_view_if_needed()
            self.page.wait_for_selector(f'[data-chart="{place.get_attribute("data-chart")}"][data-drawn]')

    def blank_charts(self):
        """Names of charts without ink: whose canvas has fewer than four colours."""
        return self.page.evaluate(
            """() => [...document.querySelectorAll("[data-chart]")].filter((place) => {
              const canvas = place.querySelector("canvas");
              if (!canvas) return true;
              const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
              return new Set(new Uint32Array(data.buffer)).size < 4;
            }).map((place) => place.dataset.chart)"""
        )

    def picture(self, chart):
        """The pixels of a chart, as a text."""
        return self.page.evaluate(f"document.querySelector('[data-chart=\"{chart}\"] canvas').toDataURL()")
