"""The tab in a real browser, in a real TensorBoard, on the log of a real fit."""

# ruff: noqa: E402  # modules that need playwright come behind the question whether it is there
import contextlib
import json
import re
import subprocess
import urllib.parse
import urllib.request

import numpy as np
import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

from tests.browser.fits import DEPTH, python
from tests.browser.reading import cell, luminance
from tests.browser.serving import drawn, open_tab, tensorboard
from tests.outlets.feed import feed, layers_of, updates

expect = playwright.expect


@pytest.fixture(scope="module")
def served(logs):
    """Addresses of TensorBoards on the logs by --load_fast, started when first asked for."""
    started = {}
    with contextlib.ExitStack() as stack:

        def address(fast):
            if fast not in started:
                started[fast] = stack.enter_context(tensorboard(logs, f"--load_fast={fast}"))
            return started[fast]

        yield address


@pytest.fixture(params=["true", "false"], ids=["fast loading", "slow loading"])
def address(request, served):
    return served(request.param)


@pytest.fixture
def fast(served):
    """For what does not depend on how TensorBoard reads the log."""
    return served("true")


def answer(address, route, **parameters):
    query = urllib.parse.urlencode(parameters)
    with urllib.request.urlopen(f"{address}/data/plugin/initwatch/{route}?{query}") as found:  # noqa: S310
        return json.load(found)


def test_drawn_cells_are_the_logged_numbers(address, page):
    frame = open_tab(page, address)
    run = "before/initwatch"
    assert frame.locator("#run").input_value() == run  # the sick one is shown first
    frame.select_option("#quantity", "delta_rms")
    drawn(frame)
    layers = answer(address, "run", run=run)["layers"]
    logged = answer(address, "values", run=run, quantity="delta_rms")
    rows, columns = len(layers), len(logged["steps"])
    assert rows == DEPTH + 1
    legend = frame.locator(".legend").evaluate(
        "e => [Number(e.dataset.low), Number(e.dataset.high)]"
    )
    bar = frame.locator(".legend-bar").evaluate(
        "c => [...c.getContext('2d').getImageData(0, 0, c.width, 1).data]"
    )
    bar = np.reshape(bar, (-1, 4))[:, :3].astype(int)
    for column in (0, columns // 2, columns - 1):
        seen = []
        for row in range(0, rows, 3):
            value = logged["values"][column][row]
            colour, said = cell(frame, run, row, column, rows, columns)
            assert said.startswith(
                f"{layers[row]['path']}, step {logged['steps'][column]}: delta_rms"
            )
            if value is None:
                assert said.endswith("not measured")
                assert np.ptp(colour) < 20, "what is not measured has no colour"
                continue
            shown = float(re.search(r"delta_rms (\S+)", said)[1])
            assert shown == pytest.approx(value, rel=6e-3)  # three digits are shown
            # its colour stands in the legend where its logarithm does
            place = (np.log10(value) - legend[0]) / (legend[1] - legend[0]) * (len(bar) - 1)
            near = bar[round(place)]
            assert np.abs(near - colour).max() <= 6, (row, column, value)
            seen.append((value, luminance(colour)))
        order = [light for _, light in sorted(seen)]
        assert order == sorted(order), "more is lighter"
    values = [v for row in logged["values"] for v in row if isinstance(v, float) and v > 0]
    assert 10 ** legend[0] == pytest.approx(min(values), rel=0.01)
    assert 10 ** legend[1] == pytest.approx(max(values), rel=0.01)


def test_from_the_finding_to_the_copied_code(address, page):
    frame = open_tab(page, address)
    run = answer(address, "run", run="before/initwatch")
    first = run["findings"][0]
    (advice,) = [item for item in run["advice"] if first["code"] in item["codes"]]
    frame.locator(f".finding[data-code={first['code']}] .finding-head").click()
    card = frame.locator(".card")
    assert card.locator("h2").inner_text() == first["layers"][0]
    drawn(frame)
    assert card.locator("figure[data-quantity] svg").count() >= 6
    assert card.locator("figure[data-histogram] svg").count() >= 1
    assert card.locator(".ba-pair").count() == len(
        [name for name in advice["measured"] if name.endswith("_before")]
    )
    assert card.locator("code").inner_text() == advice["code"]
    card.locator("button.copy").click()
    expect(card.locator(".said")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == advice["code"]
    evidence = frame.locator(f".finding[data-code={first['code']}] .evidence").first.inner_text()
    assert str(first["evidence"][0]["name"]).replace("_", " ") in evidence
    assert f"limit {first['evidence'][0]['limit']:g}" in evidence
    page.keyboard.press("Escape")
    expect(card).to_be_hidden()


def test_a_mark_on_the_map_opens_the_same_card(fast, page):
    frame = open_tab(page, fast)
    run = answer(fast, "run", run="before/initwatch")
    finding = next(item for item in run["findings"] if item["symptom"] == "vanishing_signal")
    frame.locator(f".mark[data-code={finding['code']}]").click()
    assert frame.locator(".card h2").inner_text() == finding["layers"][0]
    assert frame.locator(".mark[aria-pressed=true]").inner_text() == finding["code"]


def test_run_and_quantity_can_be_switched_and_runs_compared(address, page):
    frame = open_tab(page, address)
    frame.select_option("#run", "after/initwatch")
    drawn(frame)
    assert "Healthy" in frame.locator(".verdict").inner_text()
    frame.select_option("#quantity", "update_ratio")
    drawn(frame)
    assert frame.locator(".legend-line h2").inner_text() == "Update: update ratio"
    steps = answer(address, "values", run="after/initwatch", quantity="update_ratio")
    _, said = cell(frame, "after/initwatch", 2, 0, DEPTH + 1, len(steps["steps"]))
    shown = float(re.search(r"update_ratio (\S+)", said)[1])
    assert shown == pytest.approx(steps["values"][0][2], rel=6e-3)

    frame.select_option("#compare", "before/initwatch")
    drawn(frame)
    assert frame.locator(".map").count() == 2
    assert frame.locator(".verdict").count() == 2
    first, second = (frame.locator(".map .plot").nth(i).bounding_box() for i in range(2))
    assert first["y"] == second["y"]  # cells of one layer at one height
    assert first["height"] == second["height"]
    assert frame.locator("[data-direction=forward] .left").count() == 2


def test_a_page_that_is_loaded_again_shows_what_it_did(fast, page):
    frame = open_tab(page, fast)
    frame.select_option("#run", "after/initwatch")
    drawn(frame)
    frame.select_option("#compare", "before/initwatch")
    frame.select_option("#quantity", "weight_std")
    frame.select_option("#mode", "median")
    drawn(frame)
    page.reload()
    frame = open_tab(page, fast)
    shown = {name: frame.locator(f"#{name}").input_value() for name in ("run", "compare")}
    assert shown == {"run": "after/initwatch", "compare": "before/initwatch"}
    assert frame.locator("#quantity").input_value() == "weight_std"
    assert frame.locator("#mode").input_value() == "median"


def test_in_a_narrow_window_nothing_stands_out(fast, page):
    frame = open_tab(page, fast)
    for width in (1500, 800):
        page.set_viewport_size({"width": width, "height": 1000})
        drawn(frame)
        frame.wait_for_function("document.documentElement.scrollWidth <= window.innerWidth")
        # a chart is drawn anew some time after the window has its size
        frame.wait_for_function(
            """() => {
                const boxes = [...document.querySelectorAll(".depth-axis span")]
                    .map((one) => one.getBoundingClientRect());
                return boxes.length > 2 &&
                    boxes.slice(1).every((box, i) => boxes[i].right < box.left);
            }"""
        )


def test_a_card_asks_for_its_layer_alone(fast, page):
    frame = open_tab(page, fast)
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    frame.locator(".label").nth(2).click()
    drawn(frame)
    assert len([url for url in asked if "/layer?" in url]) == 1
    assert not [url for url in asked if "/values?" in url]
    logged = answer(fast, "layer", run="before/initwatch", layer="net/hidden_2")
    curves = frame.locator("[data-quantity]")
    assert curves.count() >= 8
    for name in curves.evaluate_all("all => all.map((one) => one.dataset.quantity)"):
        numbers = [value for value in logged["values"][name] if value is not None]
        path = frame.locator(f"[data-quantity={name}] .signal").get_attribute("d")
        crosses = frame.locator(f"[data-quantity={name}] .broken").count()
        assert path.count("M") + path.count("L") + crosses == len(numbers)


def test_a_finding_folds_again_and_logs_of_a_later_version_are_named(
    fast, logs, page, tmp_path, monkeypatch
):
    frame = open_tab(page, fast)
    head = frame.locator(".finding-head").first
    head.click()
    drawn(frame)
    assert head.get_attribute("aria-expanded") == "true"
    head.click()
    drawn(frame)
    assert head.get_attribute("aria-expanded") == "false"
    monkeypatch.setattr("initwatch.outlets.tab_log.SCHEMA", 99)
    feed(tmp_path / "newer", updates(2, 2))
    with tensorboard(tmp_path) as address:
        page.goto(f"{address}/#initwatch")
        alerts = page.frame_locator("iframe[src*='name=initwatch']").locator(".alert:visible")
        told = alerts.filter(has_text="Not shown: the log of 'newer/initwatch' is of schema 99")
        # a TensorBoard that has just begun takes its time to read the folder
        expect(told).to_be_visible(timeout=60_000)


@pytest.mark.parametrize("names", [("net/dense", "net_1/dense"), ("net/dense", "net_1/other")])
def test_layers_of_a_model_that_was_built_again_are_compared(page, tmp_path, names):
    for run, name in zip("ab", names, strict=True):
        feed(tmp_path / run, updates(6, 4, layers=layers_of(4, name=name)))
    with tensorboard(tmp_path) as address:
        frame = open_tab(page, address)
        frame.select_option("#compare", "b/initwatch")
        drawn(frame)
        same = names[1].endswith("dense")
        assert frame.locator(".map.bare").count() == int(same)  # the same names stand once
        frame.locator(".label").nth(2).click()
        drawn(frame)
        assert frame.locator("[data-quantity=delta_rms] .signal").count() == 2
        read = frame.locator(".readout").all_inner_texts()
        assert [text.split(",")[0] for text in read] == [f"{name}_2" for name in names]


def test_the_plot_by_depth_is_of_the_logged_numbers(address, page):
    frame = open_tab(page, address)
    run = answer(address, "run", run="before/initwatch")
    for direction, quantity in (("forward", "activation_rms"), ("backward", "delta_rms")):
        logged = answer(address, "values", run="before/initwatch", quantity=quantity)["values"][0]
        titles = frame.locator(f"[data-direction={direction}] .dot title").all_text_contents()
        shown = dict(title.split(": ") for title in titles)
        for layer, value in zip(run["layers"], logged, strict=True):
            if value is not None:
                assert float(shown[layer["path"]]) == pytest.approx(value, rel=6e-3)
        # on a log axis a straight fall is a straight line: heights go with logarithms
        heights = frame.locator(f"[data-direction={direction}] circle.dot").evaluate_all(
            "all => all.map((e) => Number(e.getAttribute('cy')))"
        )
        known = [np.log(v) for v in logged if v is not None]
        assert np.corrcoef(heights, known)[0, 1] == pytest.approx(-1.0, abs=1e-6)
        theory = frame.locator(f"[data-direction={direction}] .theory").get_attribute("d")
        assert theory.count("L") == DEPTH - 1
    # another step by the slider, shared with the map
    frame.locator("input[type=range]").fill("3")
    drawn(frame)
    assert frame.locator(".slider output").inner_text() == str(run["steps"][3])
    assert f"step {run['steps'][3]}" not in frame.locator(".readout").inner_text()


def test_the_map_is_walked_with_keys(fast, page):
    frame = open_tab(page, fast)
    frame.locator(".plot").focus()
    for key in ("Home", "ArrowDown", "ArrowDown", "ArrowDown", "ArrowRight"):
        page.keyboard.press(key)
    drawn(frame)
    said = frame.locator(".readout").inner_text()
    assert said.startswith("net/hidden_3, step 1:")
    page.keyboard.press("Enter")
    assert frame.locator(".card h2").inner_text() == "net/hidden_3"
    expect(frame.locator(".card .close")).to_be_focused()
    page.keyboard.press("Escape")
    expect(frame.locator(".plot")).to_be_focused()
    page.keyboard.press("+")
    drawn(frame)
    zoomed = frame.locator(".label").count()
    assert zoomed < DEPTH + 1
    page.keyboard.press("0")
    drawn(frame)
    assert frame.locator(".label").count() == DEPTH + 1


def test_a_stroke_over_the_map_zooms_into_it(fast, page):
    frame = open_tab(page, fast)
    box = frame.locator(".plot").bounding_box()
    steps = frame.locator(".steps span").all_inner_texts()
    middle = box["x"] + box["width"] / 2
    page.mouse.move(middle, box["y"] + 2)
    page.mouse.down()
    page.mouse.move(middle, box["y"] + box["height"] / 2, steps=4)
    page.mouse.up()
    drawn(frame)
    half = frame.locator(".label .name").all_inner_texts()
    assert half[0] == "hidden_0"
    assert len(half) == pytest.approx((DEPTH + 1) / 2, abs=1)
    assert frame.locator(".steps span").all_inner_texts() == steps  # across, all is shown as before
    assert frame.locator(".card").is_hidden()
    frame.locator("button:text('Show all')").click()
    drawn(frame)
    assert frame.locator(".label").count() == DEPTH + 1
    page.mouse.move(middle, box["y"] + 2)
    page.keyboard.down("Control")
    page.mouse.wheel(0, -200)
    page.keyboard.up("Control")
    expect(frame.locator("button:text('Show all')")).to_be_enabled()
    drawn(frame)
    assert frame.locator(".label").count() < DEPTH + 1


def test_layers_are_found_and_grouped(fast, page):
    frame = open_tab(page, fast)
    frame.fill("#search", "hidden_1")
    drawn(frame)
    names = frame.locator(".label .name").all_inner_texts()
    assert names == ["hidden_1", "hidden_10", "hidden_11"]
    frame.fill("#search", "no such layer")
    drawn(frame)
    assert frame.locator(".readout").inner_text() == "No layer matches the search."
    frame.fill("#search", "")
    frame.select_option("#rows", "path")
    drawn(frame)
    assert frame.locator(".label .name").all_inner_texts() == [
        f"hidden_* ({DEPTH} layers)",
        "output",
    ]
    frame.locator(".label").first.click()  # into the group
    drawn(frame)
    assert frame.locator(".label").count() == DEPTH
    assert frame.locator(".card").is_hidden()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_light_and_dark_as_tensorboard(fast, page, dark):
    frame = open_tab(page, fast, dark=dark)
    surface, ink = frame.locator(".verdict").first.evaluate(
        "e => [getComputedStyle(e).getPropertyValue('--surface'), getComputedStyle(e).color]"
    )
    assert frame.evaluate("document.documentElement.dataset.theme") == ("dark" if dark else "light")
    lights = [
        luminance([int(surface[i : i + 2], 16) for i in (1, 3, 5)]),
        luminance([int(part) for part in re.findall(r"\d+", ink)[:3]]),
    ]
    assert (lights[0] < lights[1]) is dark
    assert (max(lights) + 0.05) / (min(lights) + 0.05) > 7.0  # legible, by WCAG's measure
    # every mark says its severity in words, not by colour alone
    for mark in frame.locator(".mark").all():
        assert mark.get_attribute("aria-label").split()[0] in ("error", "warning", "info")
        assert mark.locator("svg").count() == 1


def test_the_sequence_of_colours_rises_evenly_in_lightness(fast, page):
    frame = open_tab(page, fast)
    pixels = frame.evaluate(
        """async () => {
            const colour = await import(new URL('static/colour.js', document.baseURI));
            return [...colour.SEQUENCE].map((p) => [p & 255, (p >> 8) & 255, (p >> 16) & 255]);
        }"""
    )
    lightness = 116.0 * np.cbrt([luminance(pixel) for pixel in pixels]) - 16.0  # CIE L*
    rise = np.diff(lightness[::16])
    assert np.all(rise > 0.0)
    assert rise.max() / rise.min() < 2.0
    assert lightness[-1] - lightness[0] > 70.0


@pytest.mark.slow
def test_from_an_empty_log_to_the_end_of_a_training(chromium, page, tmp_path):
    code = f"fit({str(tmp_path / 'live')!r}, 'he_normal', [Wait()], epochs=2)"
    piped = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with (
        tensorboard(tmp_path, "--reload_interval=1") as address,
        subprocess.Popen(python(code), **piped) as training,
    ):
        try:
            alone = f"{address}/data/plugin_entry.html?name=initwatch"
            page.goto(alone)
            page.locator("main[data-state=empty]").wait_for()
            assert "initwatch.InitWatch" in page.locator(".empty").inner_text()
            assert training.stdout.readline() == "first epoch\n"
            page.locator("main[data-state=ready]").wait_for(timeout=30_000)  # by itself
            watched_to_its_end(page, address, training)
            page.close()  # what the console says of a server that is gone is not ours
        finally:
            training.communicate(timeout=60)
        left = chromium.new_page()
        left.goto(alone)
        drawn(left)
    assert training.returncode == 0
    left.select_option("#quantity", "weight_std")
    expect(left.get_by_role("alert")).to_contain_text("TensorBoard does not answer")
    asked = []
    left.on("request", lambda request: asked.append(request.url))
    left.wait_for_timeout(1000)
    assert len(asked) < 3  # it looks again now and then, no more
    left.close()


def watched_to_its_end(page, address, training):
    frame = open_tab(page, address)
    assert "reloads by itself" in frame.locator(".status").inner_text()
    steps = "document.querySelector('.slider input').max"
    before = int(frame.evaluate(steps))
    training.stdin.write("\n")
    training.stdin.flush()
    frame.wait_for_function(f"{steps} > {before}", timeout=30_000)
    frame.locator(".status:text('training has ended')").wait_for(timeout=30_000)
    drawn(frame)
    now = answer(address, "run", run="live/initwatch")
    assert int(frame.evaluate(steps)) == len(now["steps"]) - 1
    # a training that has ended is not asked for again, until TensorBoard's own button is pressed
    with page.expect_request(re.compile(r"plugin/initwatch/runs")):
        page.locator("button.reload-button").click()
