"""The page's text; what a browser makes of it is in tests/browser."""

import base64
import json
import re

from initwatch.outlets.tensorboard import TensorBoardOutlet
from initwatch.plugin import page
from initwatch.plugin.log import read_logs
from tests.outlets import feed


def logged(folder, steps, count, **options):
    outlet = TensorBoardOutlet(folder)
    outlet.open(0)
    for update in feed.updates(steps, count, **options):
        outlet.emit(update)
    outlet.close(update.report)
    return read_logs(folder)


def data_of(text):
    found = re.search(r'id="initwatch-data">(.*?)</script>', text, re.DOTALL)[1]
    return json.loads(found)


def test_a_layer_cannot_end_the_script_it_stands_in(tmp_path):
    evil = "net/</script><script>alert(1)//"
    logs = logged(tmp_path, 2, 3, layers=feed.layers_of(3, name=evil))
    text = page.page(logs)
    assert "alert(1)" in text
    assert "<script>alert" not in text
    assert data_of(text)["run"][logs[0].run]["layers"][0]["path"] == f"{evil}_0"


def test_modules_import_nothing_that_the_page_does_not_hold():
    modules = page.modules()
    assert set(modules) == {f"initwatch/{path.name}" for path in page.STATIC.glob("*.js")}
    seen = set()
    for url in modules.values():
        code = base64.b64decode(url.split(",", 1)[1]).decode()
        seen |= set(re.findall(r'^(?:import|export) .*?from "([^"]+)"', code, re.M | re.S))
    assert "initwatch/app.js" in seen
    assert seen <= set(modules)


def test_long_runs_are_thinned_out_and_the_page_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(page, "MOST_STEPS", 25)
    (log,) = logged(tmp_path, 60, 4, histograms_every=2)
    data = data_of(page.page([log]))
    steps = data["run"][log.run]["steps"]
    assert steps[0] == 0
    assert steps[-1] == 59
    assert 20 <= len(steps) <= 30
    assert data["note"] == f"This report holds {len(steps)} of 60 logged steps of {log.run}."
    of_one = {}
    for histogram in next(iter(data["histograms"][log.run].values())):
        key = (histogram["quantity"], histogram["variable"])
        of_one.setdefault(key, []).append(histogram["step"])
    assert of_one
    assert all(len(found) <= page.MOST_HISTOGRAMS for found in of_one.values())


def test_a_short_run_is_there_whole(tmp_path):
    (log,) = logged(tmp_path, 10, 3)
    data = data_of(page.page([log]))
    assert data["note"] == ""
    assert data["run"][log.run]["steps"] == list(range(10))
