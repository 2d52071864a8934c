"""The initwatch tab: what TensorBoard loads, and the routes of http_api.md."""

from __future__ import annotations

import argparse
import json
import mimetypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tensorboard import plugin_util
from tensorboard.backend import http_util
from tensorboard.plugins import base_plugin
from werkzeug import wrappers

from initwatch.plugin.answers import (
    UnknownNameError,
    histograms_answer,
    run_answer,
    values_answer,
)
from initwatch.plugin.log import NewerLogError
from initwatch.plugin.metadata import PLUGIN_NAME
from initwatch.plugin.provided import Provided

STATIC = Path(__file__).parent / "static"
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
        self._provided = Provided(context.data_provider)

    def get_plugin_apps(self) -> dict[str, Callable[..., Any]]:
        routes: dict[str, Callable[[wrappers.Request], wrappers.Response]] = {
            "/runs": self.serve_runs,
            "/run": lambda request: self._of_run(request, run_answer),
            "/values": lambda request: self._of_run(request, values_answer, "quantity"),
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
        return _answer(request, {"runs": self._provided.summaries(context, experiment)})

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
        run, layer = given["run"], given.get("layer")
        assert run is not None
        try:
            log = self._provided.log(context, experiment, run)
            if log is None:
                known = ", ".join(self._provided.runs(context, experiment)) or "none at all"
                raise UnknownNameError(f"no run {run!r} with an initwatch log; there is {known}")
            if layer is not None:
                log = self._provided.with_histograms(context, experiment, log, layer)
            return _answer(request, answer(log, *(given[name] for name in names)))
        except (UnknownNameError, NewerLogError) as error:
            return _refusal(request, 404, str(error))


def _answer(request: wrappers.Request, content: Any, code: int = 200) -> wrappers.Response:
    # as text: TensorBoard would walk through every number of a dictionary in Python
    text = json.dumps(content, allow_nan=False, separators=(",", ":"))
    return _response(request, text, "application/json", code)


def _response(
    request: wrappers.Request, content: str | bytes, kind: str, code: int = 200
) -> wrappers.Response:
    response: wrappers.Response = http_util.Respond(request, content, kind, code=code)
    return response


def _refusal(request: wrappers.Request, code: int, message: str) -> wrappers.Response:
    return _answer(request, {"error": message}, code)
