"""The initwatch tab: what TensorBoard loads, and the routes of http_api.md."""

from __future__ import annotations

import argparse
import mimetypes
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from tensorboard import plugin_util
from tensorboard.backend import http_util
from tensorboard.data import provider
from tensorboard.plugins import base_plugin
from tensorboard.plugins.histogram.metadata import PLUGIN_NAME as HISTOGRAMS
from werkzeug import wrappers

from initwatch.plugin.answers import (
    UnknownNameError,
    compact,
    histogram_tags,
    histograms_answer,
    run_answer,
    run_summary,
    values_text,
)
from initwatch.plugin.log import NewerLogError, RunLog, assembled
from initwatch.plugin.metadata import MODEL, PLUGIN_NAME, parsed_tab_tag

STATIC = Path(__file__).parent / "static"
KEPT = 16  # logs held in memory: of 2,000 steps of 200 layers one takes some 25 MB
_ALL = 10**9  # no answer is thinned out: the writer has bounded the number of steps
_MEDIA_TYPES = {".js": "text/javascript", ".svg": "image/svg+xml"}  # the system's table may lack


class InitwatchLoader(base_plugin.TBLoader):  # type: ignore[misc]  # tensorboard is untyped
    """What the entry point names."""

    def fix_flags(self, flags: argparse.Namespace) -> None:
        """Keeps every logged step: of other plugins' tensors TensorBoard keeps 10 or 100.

        What the user has asked for with ``--samples_per_plugin`` stays.
        """
        flags.samples_per_plugin = {PLUGIN_NAME: 0, **(flags.samples_per_plugin or {})}

    def load(self, context: base_plugin.TBContext) -> InitwatchPlugin:
        return InitwatchPlugin(context)


class InitwatchPlugin(base_plugin.TBPlugin):  # type: ignore[misc]  # tensorboard is untyped
    """Serves the tab.

    Args:
        context: TensorBoard's.
    """

    plugin_name = PLUGIN_NAME

    def __init__(self, context: base_plugin.TBContext) -> None:
        self._provider = context.data_provider
        self._lock = threading.Lock()
        self._logs: OrderedDict[tuple[str, str], tuple[dict[str, Any], RunLog | None]]
        self._logs = OrderedDict()  # the last one asked for stands last

    def get_plugin_apps(self) -> dict[str, Callable[..., Any]]:
        routes: dict[str, Callable[[wrappers.Request], wrappers.Response]] = {
            "/runs": self.serve_runs,
            "/run": lambda request: self._of_run(request, run_answer),
            "/values": lambda request: self._of_run(request, values_text, "quantity"),
            "/histograms": lambda request: self._of_run(request, histograms_answer, "layer"),
            "/static/*": self.serve_static,
        }
        return {path: wrappers.Request.application(serve) for path, serve in routes.items()}

    def is_active(self) -> bool:
        # TensorBoard turns the tab on by itself where a run has tensors of this name
        return False

    def frontend_metadata(self) -> base_plugin.FrontendMetadata:
        return base_plugin.FrontendMetadata(es_module_path="/static/index.js", tab_name="initwatch")

    # ------------------------------------------------------------------ routes

    def serve_runs(self, request: wrappers.Request) -> wrappers.Response:
        """Summaries of all runs."""
        context = plugin_util.context(request.environ)
        experiment = plugin_util.experiment_id(request.environ)
        found = []
        for run in self.runs(context, experiment):
            # what cannot be read is told to who asks for it by name
            with suppress(NewerLogError):
                log = self.log(context, experiment, run)
                found += [run_summary(log)] if log is not None else []
        return _answer(request, {"runs": found})

    def serve_static(self, request: wrappers.Request) -> wrappers.Response:
        """A file of the tab."""
        name = request.path.rsplit("/", 1)[-1]
        served = {path.name: path for path in STATIC.glob("*") if path.is_file()}
        # only what lies in the folder has a name here: a path that leads out of it has none
        if name not in served:
            return _refusal(request, 404, f"there is no file {name!r}")
        path = served[name]
        kind = _MEDIA_TYPES.get(path.suffix) or mimetypes.guess_type(name)[0]
        return _response(request, path.read_bytes(), kind or "application/octet-stream")

    def _of_run(
        self, request: wrappers.Request, answer: Callable[..., Any], *names: str
    ) -> wrappers.Response:
        given = {name: request.args.get(name) for name in ("run", *names)}
        missing = [name for name, value in given.items() if value is None]
        if missing:
            wanted = "&".join(f"{name}=..." for name in given)
            return _refusal(request, 400, f"{', '.join(missing)} missing; expected {wanted}")
        context = plugin_util.context(request.environ)
        experiment = plugin_util.experiment_id(request.environ)
        run = given["run"]
        assert run is not None
        try:
            log = self.log(context, experiment, run, given.get("layer"))
            if log is None:
                known = ", ".join(self.runs(context, experiment)) or "none at all"
                raise UnknownNameError(f"no run {run!r} with an initwatch log; there is {known}")
            return _answer(request, answer(log, *(given[name] for name in names)))
        except (UnknownNameError, NewerLogError) as error:
            return _refusal(request, 404, str(error))

    # ------------------------------------------------------------------ data

    def runs(self, context: Any, experiment: str) -> list[str]:
        """Runs that have a model described, in the order of their names."""
        listed = self._provider.list_tensors(
            context, experiment_id=experiment, plugin_name=PLUGIN_NAME
        )
        return sorted(
            run
            for run, tags in listed.items()
            if any((parsed_tab_tag(tag) or ("",))[0] == MODEL for tag in tags)
        )

    def log(
        self, context: Any, experiment: str, run: str, layer: str | None = None
    ) -> RunLog | None:
        """What the data provider has of a run; with the histograms of ``layer`` if it is given."""
        log = self._kept(context, experiment, run)
        if layer is None or log is None:
            return log
        tags = self._listed(context, experiment, HISTOGRAMS, run)
        wanted = [tag for tag, _, _ in histogram_tags(tags, layer)]
        if not wanted:
            return log
        chosen = provider.RunTagFilter(runs=[run], tags=wanted)
        return log.with_histograms(self._read(context, experiment, HISTOGRAMS, chosen))

    def _kept(self, context: Any, experiment: str, run: str) -> RunLog | None:
        """The run without histograms: read, and decoded, once for all that is asked of it.

        It is read again when a tag has another last step or time than it had.
        """
        listed = self._listed(context, experiment, PLUGIN_NAME, run)
        version = {tag: (series.max_step, series.max_wall_time) for tag, series in listed.items()}
        with self._lock:  # the tab asks for several quantities at once
            found = self._logs.pop((experiment, run), None)
            if found is None or found[0] != version:
                only = provider.RunTagFilter(runs=[run])
                found = version, assembled(run, self._read(context, experiment, PLUGIN_NAME, only))
            self._logs[experiment, run] = found
            while len(self._logs) > KEPT:
                self._logs.popitem(last=False)
        return found[1]

    def _listed(self, context: Any, experiment: str, plugin: str, run: str) -> Mapping[str, Any]:
        only = provider.RunTagFilter(runs=[run])
        listed: Mapping[str, Mapping[str, Any]] = self._provider.list_tensors(
            context, experiment_id=experiment, plugin_name=plugin, run_tag_filter=only
        )
        return listed.get(run, {})

    def _read(
        self, context: Any, experiment: str, plugin: str, chosen: provider.RunTagFilter
    ) -> dict[str, list[tuple[int, Any]]]:
        (run,) = chosen.runs
        read = self._provider.read_tensors(
            context,
            experiment_id=experiment,
            plugin_name=plugin,
            downsample=_ALL,
            run_tag_filter=chosen,
        )
        return {
            tag: [(datum.step, datum.numpy) for datum in series]
            for tag, series in read.get(run, {}).items()
        }


def _answer(request: wrappers.Request, content: Any, code: int = 200) -> wrappers.Response:
    # as text: TensorBoard would walk through every number of a dictionary in Python
    text = content if isinstance(content, str) else compact(content)
    return _response(request, text, "application/json", code)


def _response(
    request: wrappers.Request, content: str | bytes, kind: str, code: int = 200
) -> wrappers.Response:
    response: wrappers.Response = http_util.Respond(request, content, kind, code=code)
    return response


def _refusal(request: wrappers.Request, code: int, message: str) -> wrappers.Response:
    return _answer(request, {"error": message}, code)
