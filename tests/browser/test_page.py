"""The report that stands by itself: one file, no server, no network."""

# ruff: noqa: E402  # modules that need playwright come behind the question whether it is there
import re

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

from initwatch.cli import main
from initwatch.plugin import page as html
from initwatch.plugin.answers import gathered
from initwatch.plugin.log import read_logs
from initwatch.records import Statistic
from tests.browser.fits import DEPTH
from tests.browser.reading import cell
from tests.browser.serving import drawn
from tests.outlets import feed

expect = playwright.expect


@pytest.fixture
def report(logs, tmp_path, capsys):
    file = tmp_path / "out.html"
    assert main(["report", str(logs), "--html", str(file)]) == 0
    assert f"{file}: " in capsys.readouterr().out
    return file


def test_the_file_draws_what_the_tab_draws(report, logs, page):
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(report.as_uri())
    drawn(page)
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    data = gathered(read_logs(logs))
    run = "before/initwatch"
    assert page.locator("#run").input_value() == run
    page.select_option("#quantity", "delta_rms")
    drawn(page)
    logged = data["values"][run]["delta_rms"]
    for row in (0, 5, DEPTH - 1):
        _, said = cell(page, run, row, 2, DEPTH + 1, len(logged["steps"]))
        shown = float(re.search(r"delta_rms (\S+)", said)[1])
        assert shown == pytest.approx(logged["values"][2][row], rel=6e-3)
    page.locator(".finding-head").first.click()
    drawn(page)
    assert page.locator(".card figure[data-histogram] svg").count() >= 1
    advice = data["run"][run]["advice"][0]
    page.locator(".card button.copy").first.click()
    expect(page.locator(".card .said").first).to_have_text("Copied")
    assert page.locator(".card code").first.inner_text() == advice["code"]
    page.select_option("#compare", "after/initwatch")
    drawn(page)
    assert page.locator(".map").count() == 2


def test_it_follows_the_systems_theme(report, page):
    page.emulate_media(color_scheme="dark")
    page.goto(report.as_uri())
    drawn(page)
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.emulate_media(color_scheme="light")
    page.locator("html[data-theme=light]").wait_for(state="attached")


def test_runs_that_have_little_in_common(tmp_path, page):
    """Other layers, other steps, a quantity that one of them lacks."""
    short = []
    for update in feed.updates(3, 5):
        del update.values[Statistic.DEAD_FRACTION]
        short.append(update)
    feed.feed(tmp_path / "a", feed.updates(9, 3))
    feed.feed(tmp_path / "b", short)
    logs = read_logs(tmp_path)
    file = tmp_path / "out.html"
    file.write_text(html.page(logs), encoding="utf-8")
    page.goto(file.as_uri())
    drawn(page)
    page.select_option("#run", "a/initwatch")
    page.select_option("#compare", "b/initwatch")
    page.select_option("#quantity", "dead_fraction")
    drawn(page)
    maps = page.locator(".map")
    assert [maps.nth(i).locator(".label").count() for i in range(2)] == [3, 5]
    said = page.locator(".map[data-run='b/initwatch'] .readout")
    assert said.inner_text() == "This log does not hold dead_fraction."
    page.locator(".label").nth(1).click()
    drawn(page)
    assert page.locator(".card h2").inner_text() == "net/dense_1"
    page.select_option("#run", "b/initwatch")  # that one beside itself is no comparison
    drawn(page)
    assert maps.count() == 1
    assert page.locator("#compare").input_value() == ""
