"""The tab's routes, over both of TensorBoard's data paths."""

import argparse
import json
import subprocess
import sys
import time
import tomllib
import urllib.request
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from tensorboard.backend.application import TensorBoardWSGI
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.plugins.base_plugin import TBContext
from werkzeug.test import Client

from initwatch.outlets import tab_log
from initwatch.outlets.tensorboard import TensorBoardOutlet
from initwatch.plugin import plugin, provided
from initwatch.plugin.answers import (
    histograms_answer,
    run_answer,
    run_summary,
    values_answer,
)
from initwatch.plugin.log import read_logs
from initwatch.plugin.plugin import InitwatchLoader
from tests.outlets.feed import feed, layers_of, updates

ROOT = Path(__file__).parents[2]
PREFIX = "/data/plugin/initwatch"


def client_of(log_dir):
    """A client of a TensorBoard whose data comes through the multiplexer."""
    multiplexer = EventMultiplexer(tensor_size_guidance=default_flags().samples_per_plugin)
    multiplexer.AddRunsFromDirectory(str(log_dir))
    multiplexer.Reload()
    provider = MultiplexerDataProvider(multiplexer, str(log_dir))
    context = TBContext(data_provider=provider)
    return Client(TensorBoardWSGI([InitwatchLoader().load(context)], data_provider=provider))


def default_flags(**given):
    flags = argparse.Namespace(samples_per_plugin=given)
    InitwatchLoader().fix_flags(flags)
    return flags


@pytest.fixture(scope="module")
def logged(tmp_path_factory):
    log_dir = tmp_path_factory.mktemp("logs")
    feed(log_dir / "a", updates(120, 3, histograms_every=50))
    feed(log_dir / "b", updates(30, 5, seed=1), end=False)
    feed(log_dir / "b", updates(5, 5, first=20, seed=2), first=20, end=False)
    return log_dir, client_of(log_dir)


def asked(client, route, **parameters):
    response = client.get(f"{PREFIX}/{route}", query_string=parameters)
    return response.status_code, response.json


def test_answers_are_those_of_the_files(logged):
    log_dir, client = logged
    logs = read_logs(log_dir)
    assert asked(client, "runs") == (200, {"runs": [run_summary(log) for log in logs]})
    for log in logs:
        assert asked(client, "run", run=log.run) == (200, run_answer(log))
        for quantity in ("delta_rms", "update_ratio", "gradient_norm"):
            answer = asked(client, "values", run=log.run, quantity=quantity)
            assert answer == (200, values_answer(log, quantity))
        answer = asked(client, "histograms", run=log.run, layer="net/dense_1")
        assert answer == (200, histograms_answer(log, "net/dense_1"))
    assert len(answer[1]["histograms"]) == 0  # the second run has none
    assert asked(client, "histograms", run=logs[0].run, layer="net/dense_1")[1]["histograms"]


def test_what_has_grown_is_read_again(tmp_path, monkeypatch):
    read = []
    original = provided.assembled
    monkeypatch.setattr(
        provided, "assembled", lambda run, given: read.append(run) or original(run, given)
    )
    multiplexer = EventMultiplexer(tensor_size_guidance=default_flags().samples_per_plugin)
    data = MultiplexerDataProvider(multiplexer, str(tmp_path))
    client = Client(
        TensorBoardWSGI([InitwatchLoader().load(TBContext(data_provider=data))], data_provider=data)
    )
    outlet = TensorBoardOutlet(tmp_path)
    outlet.open(0)

    def seen():
        multiplexer.AddRunsFromDirectory(str(tmp_path))
        multiplexer.Reload()
        (only,) = asked(client, "runs")[1]["runs"]
        steps = asked(client, "values", run="initwatch", quantity="delta_rms")[1]["steps"]
        assert len(steps) == only["steps"]
        return only["steps"], only["ended"]

    told = list(updates(6, 3))
    for update in told[:4]:
        outlet.emit(update)
    assert [seen(), seen()] == [(4, False)] * 2
    assert read == ["initwatch"]
    for update in told[4:]:
        outlet.emit(update)
    assert seen() == (6, False)
    outlet.close(told[-1].report)
    assert [seen(), seen()] == [(6, True)] * 2
    assert read == ["initwatch"] * 3


@pytest.mark.parametrize(
    ("route", "parameters", "status", "message"),
    [
        ("run", {}, 400, "run missing; expected run=..."),
        ("values", {"run": "a/initwatch"}, 400, "quantity missing; expected run=...&quantity=..."),
        ("histograms", {}, 400, "run, layer missing; expected run=...&layer=..."),
        ("run", {"run": "c"}, 404, "no run 'c' with an initwatch log; there is a/initwatch, b/i"),
        ("values", {"run": "a/initwatch", "quantity": "x"}, 404, "no quantity 'x'; it has delta_"),
        ("values", {"run": "", "quantity": "delta_rms"}, 404, "no run ''"),
        ("histograms", {"run": "a/initwatch", "layer": "x"}, 404, "no layer 'x'; it has net/den"),
    ],
)
def test_what_is_asked_for_wrongly_is_told(logged, route, parameters, status, message):
    got, answer = asked(logged[1], route, **parameters)
    assert got == status
    assert list(answer) == ["error"]
    assert message in answer["error"]


def test_a_folder_without_our_logs_has_no_runs(tmp_path):
    client = client_of(tmp_path)
    assert asked(client, "runs") == (200, {"runs": []})
    assert "there is none at all" in asked(client, "run", run="a")[1]["error"]


def test_a_later_versions_log_is_told_to_who_asks_for_it(tmp_path, monkeypatch):
    feed(tmp_path / "new", updates(2, 2))
    monkeypatch.setattr(tab_log, "SCHEMA", 99)
    feed(tmp_path / "newer", updates(2, 2))
    client = client_of(tmp_path)
    (only,) = asked(client, "runs")[1]["runs"]
    assert only["run"] == "new/initwatch"
    status, answer = asked(client, "run", run="newer/initwatch")
    assert status == 404
    assert "schema 99" in answer["error"]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("index.js", "text/javascript"),
        ("style.css", "text/css"),
        ("mark.svg", "image/svg+xml"),
        ("page.html", "text/html"),
        ("picture.png", "image/png"),
    ],
)
def test_static_files_have_their_types(logged, tmp_path, monkeypatch, name, kind):
    (tmp_path / name).write_bytes(b"content")
    monkeypatch.setattr(plugin, "STATIC", tmp_path)
    response = logged[1].get(f"{PREFIX}/static/{name}")
    assert response.status_code == 200
    assert response.data == b"content"
    assert response.mimetype == kind
    assert response.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    [
        "missing.js",
        "",
        "folder",
        "..",
        "../secret.txt",
        "%2e%2e/secret.txt",
        "..%2fsecret.txt",
        "folder/inside.txt",
        "..%5csecret.txt",
        "/etc/passwd",
    ],
)
def test_nothing_outside_the_folder_is_served(logged, tmp_path, monkeypatch, path):
    (tmp_path / "static" / "folder").mkdir(parents=True)
    (tmp_path / "secret.txt").write_text("not for you")
    (tmp_path / "static" / "folder" / "inside.txt").write_text("not for you")
    monkeypatch.setattr(plugin, "STATIC", tmp_path / "static")
    response = logged[1].get(f"{PREFIX}/static/{path}")
    assert response.status_code in (301, 308, 404)
    assert b"not for you" not in response.data


def test_every_step_is_kept_unless_the_user_says_otherwise():
    assert default_flags().samples_per_plugin == {"initwatch": 0}
    assert default_flags(initwatch=50, text=3).samples_per_plugin == {"initwatch": 50, "text": 3}


def test_the_tab_is_told_of():
    made = InitwatchLoader().load(TBContext())
    metadata = made.frontend_metadata()
    assert (metadata.es_module_path, metadata.tab_name) == ("/static/index.js", "initwatch")
    assert made.plugin_name == "initwatch"
    assert made.is_active() is False


def test_the_entry_point_names_the_loader_and_the_files_are_packaged():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (value,) = project["project"]["entry-points"]["tensorboard_plugins"].values()
    assert EntryPoint("initwatch", value, "tensorboard_plugins").load() is InitwatchLoader
    packaged = project["tool"]["setuptools"]["package-data"]["initwatch"]
    assert "plugin/static/*" in packaged


def test_the_routes_are_documented():
    text = (ROOT / "initwatch" / "plugin" / "http_api.md").read_text(encoding="utf-8")
    for route in InitwatchLoader().load(TBContext()).get_plugin_apps():
        assert f"## `{route.removeprefix('/').removesuffix('*')}" in text


def test_the_plugin_loads_neither_keras_nor_tensorflow():
    program = (
        "import sys, initwatch.plugin.plugin as p; from tensorboard.plugins import base_plugin;"
        "p.InitwatchLoader().load(base_plugin.TBContext()).get_plugin_apps();"
        "print({'keras', 'tensorflow', 'jax', 'torch'} & set(sys.modules))"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "set()"


SERVER = """
import sys, threading
from tensorboard import default, program
from initwatch.plugin.plugin import InitwatchLoader
sys.modules["tensorflow"] = None  # it takes seconds to load, and is not needed
server = program.TensorBoard(plugins=[*default.get_static_plugins(), InitwatchLoader])
server.configure(sys.argv)
print(server.launch(), flush=True)
threading.Event().wait()
"""


def get(url):
    with urllib.request.urlopen(url, timeout=60) as answer:  # noqa: S310 our own server
        return json.load(answer)


def waited_for(url, ready, seconds=90):
    """The runs, once TensorBoard has read so far: it does so in the background."""
    deadline = time.monotonic() + seconds
    while not ready(runs := get(f"{url}/runs")["runs"]):
        assert time.monotonic() < deadline, runs
        time.sleep(0.3)
    return runs


@pytest.fixture
def serving(request):
    """Starts TensorBoard on a folder; its URL."""
    started = []

    def start(log_dir, *arguments):
        command = [sys.executable, "-c", SERVER, "--logdir", str(log_dir), "--port", "0"]
        server = subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, text=True)
        started.append(server)
        return server.stdout.readline().strip().rstrip("/") + PREFIX

    yield start
    for server in started:
        server.kill()
        server.wait()
        server.stdout.close()


@pytest.mark.slow
@pytest.mark.parametrize("fast", ["true", "false"])
def test_tensorboard_keeps_each_of_two_thousand_steps_of_200_layers(tmp_path, serving, fast):
    if fast == "true":
        pytest.importorskip("tensorboard_data_server")
    feed(tmp_path, updates(2000, 200, histograms_every=10))
    size = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    assert size < 10e6
    url = serving(tmp_path, f"--load_fast={fast}")
    runs = waited_for(url, lambda runs: runs and runs[0]["steps"] == 2000)
    (log,) = read_logs(tmp_path)
    assert runs == [run_summary(log)]
    begun = time.monotonic()
    answer = get(f"{url}/values?run=initwatch&quantity=delta_rms")
    assert time.monotonic() - begun < 10.0
    assert answer["steps"] == list(range(2000))
    assert answer == values_answer(log, "delta_rms")
    assert get(f"{url.removesuffix('/plugin/initwatch')}/plugins_listing")["initwatch"]["enabled"]


@pytest.mark.slow
@pytest.mark.parametrize("fast", ["true", "false"])
def test_a_run_that_was_killed_and_resumed_is_read_as_from_its_files(tmp_path, serving, fast):
    if fast == "true":
        pytest.importorskip("tensorboard_data_server")
    feed(tmp_path, updates(30, 4), end=False)
    layers, variables = layers_of(5)
    later = updates(5, 5, first=20, seed=1, layers=(layers[::-1], variables))
    feed(tmp_path, later, first=20, end=False)
    url = serving(tmp_path, f"--load_fast={fast}")
    (log,) = read_logs(tmp_path)
    runs = waited_for(url, lambda runs: runs and runs[0]["layers"] == 5 and runs[0]["steps"] == 25)
    assert runs == [run_summary(log)]
    assert get(f"{url}/run?run=initwatch") == run_answer(log)
    for quantity in ("delta_rms", "update_ratio"):
        answer = get(f"{url}/values?run=initwatch&quantity={quantity}")
        assert answer == values_answer(log, quantity)
        assert answer["steps"] == list(range(25))


@pytest.mark.slow
@pytest.mark.parametrize("fast", ["true", "false"])
def test_a_users_own_number_of_samples_wins(tmp_path, serving, fast):
    if fast == "true":
        pytest.importorskip("tensorboard_data_server")
    feed(tmp_path, updates(300, 2))
    url = serving(tmp_path, f"--load_fast={fast}", "--samples_per_plugin", "initwatch=50")
    runs = waited_for(url, lambda runs: runs and runs[0]["last_step"] == 299)
    assert runs[0]["steps"] == 50
