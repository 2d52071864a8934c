"""TensorBoard's HParams dashboard: the runs of a comparison, their figures and the ranking."""

from __future__ import annotations

import time
from pathlib import Path
from types import TracebackType

import numpy as np
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2, plugin_data_pb2
from tensorboard.plugins.hparams import metadata as hparams_metadata
from tensorboard.plugins.text import metadata as text_metadata

from initwatch.outlets.event_file import EventFile, string_tensor
from initwatch.plugin.metadata import RANKING_TAG, comparison_tag
from initwatch.records import Comparison, Run

# figure of a run -> what the dashboard calls it
METRICS = {
    "final_loss": "final loss",
    "first_loss": "loss of the first step",
    "area": "area under the loss curve [loss x steps]",
    "healthy": "healthy (1) or not (0)",
}


class HParamsLog:
    """Writes the experiment to ``folder``, each run to ``folder/<label>/seed_<n>``.

    TensorBoard's own functions for it (``tensorboard.plugins.hparams.summary``) import
    TensorFlow; its messages do not.

    Args:
        folder: the log's root, made if it does not exist.

    Raises:
        OSError: if it cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._file = EventFile(folder, 0)
        # no domains: of a folder that is used again the dashboard knows the first only
        experiment = api_pb2.Experiment(
            time_created_secs=time.time(),
            hparam_infos=[
                api_pb2.HParamInfo(name="initializer", type=api_pb2.DATA_TYPE_STRING),
                api_pb2.HParamInfo(name="seed", type=api_pb2.DATA_TYPE_FLOAT64),
            ],
            metric_infos=[
                api_pb2.MetricInfo(
                    name=api_pb2.MetricName(tag=comparison_tag(figure)), display_name=name
                )
                for figure, name in METRICS.items()
            ],
        )
        self._file.add(0, [_described(hparams_metadata.EXPERIMENT_TAG, experiment=experiment)])

    def __enter__(self) -> HParamsLog:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def add(self, run: Run, started: float) -> None:
        """A run has ended that began at ``started`` [seconds since the epoch].

        Figures that are not finite are left out, for the dashboard cannot sort them; such a run
        has the status FAILURE, and its loss curve shows where it went.
        """
        start = plugin_data_pb2.SessionStartInfo(start_time_secs=started)
        start.hparams["initializer"].string_value = run.label
        start.hparams["seed"].number_value = run.seed
        status = api_pb2.STATUS_SUCCESS if run.finite else api_pb2.STATUS_FAILURE
        end = plugin_data_pb2.SessionEndInfo(status=status, end_time_secs=time.time())
        file = EventFile(run_folder(self.folder, run.label, run.seed), 0)
        try:
            tag = hparams_metadata.SESSION_START_INFO_TAG
            file.add(0, [_described(tag, session_start_info=start)])
            for step, loss in enumerate(run.losses.tolist()):
                file.add(step, [Summary.Value(tag=comparison_tag("loss"), simple_value=loss)])
            figures = {
                "final_loss": run.final_loss,
                "first_loss": run.first_loss,
                "area": run.area,
                "healthy": float(run.report.healthy),
            }
            values = [
                Summary.Value(tag=comparison_tag(figure), simple_value=value)
                for figure, value in figures.items()
                if np.isfinite(value)
            ]
            tag = hparams_metadata.SESSION_END_INFO_TAG
            values.append(_described(tag, session_end_info=end))
            file.add(len(run.losses) - 1, values)
        finally:
            file.close()

    def rank(self, comparison: Comparison) -> None:
        """All runs have ended: the table goes under *Text*."""
        value = Summary.Value(
            tag=RANKING_TAG,
            tensor=string_tensor(f"```\n{comparison}\n```".encode()),
            metadata=text_metadata.create_summary_metadata(display_name=None, description=None),
        )
        self._file.add(0, [value])


def run_folder(folder: Path, label: str, seed: int) -> Path:
    """Where a run is logged."""
    return folder / label / f"seed_{seed}"


def _described(tag: str, **data: object) -> Summary.Value:
    """The dashboard reads its messages from a value's metadata."""
    message = plugin_data_pb2.HParamsPluginData(**data)
    return Summary.Value(
        tag=tag,
        metadata=hparams_metadata.create_summary_metadata(message),
        tensor=hparams_metadata.NULL_TENSOR,
    )
