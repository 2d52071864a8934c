"""TensorBoard: the tab's tensors, scalars, histograms and texts, in a run of their own."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.compat.proto.types_pb2 import DT_FLOAT
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.custom_scalar import metadata as custom_scalar_metadata
from tensorboard.plugins.histogram import metadata as histogram_metadata
from tensorboard.plugins.text import metadata as text_metadata

from initwatch.errors import ArgumentError, LogDirError
from initwatch.outlets.event_file import EventFile, string_tensor
from initwatch.outlets.tab_log import TabLog
from initwatch.plugin.metadata import (
    ADVICE_TAG,
    CHANGES_TAG,
    FINDINGS_TAG,
    REPORT_TAG,
    RUN_FOLDER,
    chart_pattern,
    histogram_tag,
    scalar_tag,
)
from initwatch.records import Advice, Finding, LayerSpec, Report, Statistic, Subject
from initwatch.records.report import (
    abbreviated,
    by_trial,
    changes_lines,
    closing_line,
    figure_text,
    grouped,
    in_order,
)
from initwatch.records.update import Histogram, Update

# For TensorBoards without our tab, and few: a scalar takes some 45 bytes, and 200 layers with all
# of these, at each step, would fill 160 kB a step. Of variables, the kernel stands for its layer.
SCALARS = (
    Statistic.LOSS,
    Statistic.TRIVIAL_LOSS,
    Statistic.PENALTY,
    Statistic.ERROR_RATE,
    Statistic.TRIVIAL_ERROR_RATE,
    Statistic.DELTA_RMS,
    Statistic.DELTA_NORM,
    Statistic.ACTIVATION_STD,
    Statistic.GRADIENT_RMS,
    Statistic.UPDATE_RATIO,
    Statistic.WEIGHT_STD,
    Statistic.DEAD_FRACTION,
    Statistic.ACTIVATION_SLOPE,
    Statistic.ACTIVATION_SIMILARITY,
)
# TensorBoard takes minutes to list tens of thousands of tags: scalars and histograms of deeper
# models are of so many layers, evenly over depth, and of those where something was found.
MAX_LAYERS = 20
# So many of a fit are all written, then every second one until twice as many have come, every
# fourth until four times as many have, and so on. The tab's steps are thinned far later than
# scalars of layers and histograms: they hold every layer, in less room than 50 layers' scalars.
ALL_SCALARS, ALL_HISTOGRAMS, ALL_STEPS = 64, 8, 4096


class TensorBoardOutlet:
    """Writes to ``log_dir/initwatch``: one record a sampled step.

    The tab's numbers are of every layer (``tab_log``). Scalars and histograms, for TensorBoards
    without the tab, are of at most ``MAX_LAYERS`` layers and those with findings, and thin out as a
    fit goes on (``Thinned``); scalars of the whole step, such as the loss, do not.

    Args:
        log_dir: a local folder; made if it does not exist.

    Raises:
        ArgumentError: if it is no local path.
        LogDirError: if it cannot be written.
    """

    name = "TensorBoard log"
    waits = False

    def __init__(self, log_dir: str | os.PathLike[str]) -> None:
        self.folder = checked_log_dir(log_dir) / RUN_FOLDER
        self._file: EventFile | None = None
        self._described: set[str] = set()
        self._advised: set[tuple[str, str, bool]] = set()
        self._layers: tuple[LayerSpec, ...] | None = None
        self._logged: frozenset[int] | None = None
        self._flagged: set[str] = set()
        self._columns: list[tuple[Statistic, list[str], NDArray[np.intp]]] | None = None
        self._tab = TabLog(0)
        self._last_step = 0
        self._thinned = [Thinned(n) for n in (ALL_SCALARS, ALL_HISTOGRAMS, ALL_STEPS)]

    def open(self, step: int) -> None:
        if self._file is not None:  # a fit that ended by an exception left it open
            self._file.close()
        self._file = EventFile(self.folder, step)
        self._described = set()
        self._advised = set()
        self._layers = None
        self._flagged = set()
        self._tab = TabLog(step)
        self._last_step = step
        self._thinned = [Thinned(n) for n in (ALL_SCALARS, ALL_HISTOGRAMS, ALL_STEPS)]
        layout = Summary.Value(tag=custom_scalar_metadata.CONFIG_SUMMARY_TAG)
        layout.tensor.CopyFrom(string_tensor(_charts().SerializeToString()))
        layout.metadata.CopyFrom(custom_scalar_metadata.create_summary_metadata())
        self._file.add(step, [layout])

    def emit(self, update: Update) -> None:
        if self._file is None:
            return
        if self._layers is not update.layers:
            # also a model that is seen anew, with other layers
            self._layers = update.layers
            self._logged = frozenset(_evenly(update.layers))
            self._columns = None
        scalars, histograms, steps = self._thinned
        self._last_step = update.step
        values = self._scalars(update, whole=not update.values or scalars.due())
        if update.histograms and histograms.due():
            values += self._histograms(update)
        values += self._tab.values(update, thinned=bool(update.values) and not steps.due())
        if update.news:
            news = list(update.news)
            if not update.tried:
                values.append(self._text(FINDINGS_TAG, findings_markdown(news)))
            answers = [
                advice
                for advice in update.report.advice
                if any(finding.code in advice.codes for finding in news)
                and _key(advice) not in self._advised
            ]
            self._advised |= {_key(advice) for advice in answers}
            if answers:
                values.append(self._text(ADVICE_TAG, advice_markdown(answers)))
        if update.changes:
            lines = "\n".join(f"- {line}" for line in changes_lines(update.changes))
            values.append(self._text(CHANGES_TAG, lines))
        self._file.add(update.step, values)

    def note(self, text: str) -> None:
        """Notes are for the console."""

    def close(self, report: Report) -> None:
        if self._file is None:
            return
        try:
            text = report_markdown(report)
            state = self._tab.state(report, ended=True)
            self._file.add(self._last_step, [self._text(REPORT_TAG, text), state])
        finally:
            self._file.close()
            self._file = None

    # ------------------------------------------------------------------ values

    def _scalars(self, update: Update, whole: bool) -> list[Summary.Value]:
        """Those of the step; of layers only if it is ``whole``."""
        flagged = {path for finding in update.report.findings for path in finding.layers[:8]}
        if self._columns is None or not flagged <= self._flagged:
            self._flagged = flagged | self._flagged
            self._columns = [
                (statistic, *self._chosen(statistic, update))
                for statistic in SCALARS
                if statistic in update.values
            ]
        scalars = []
        for statistic, tags, places in self._columns:
            # a statistic that a step does not show, such as one traced anew, is left out of it
            values = update.values.get(statistic)
            if values is None or not (whole or statistic.subject is Subject.STEP):
                continue
            for tag, value in zip(tags, values[places].tolist(), strict=True):
                if math.isfinite(value) or statistic is Statistic.LOSS:
                    scalars.append(Summary.Value(tag=tag, simple_value=value))
        return scalars

    def _chosen(self, statistic: Statistic, update: Update) -> tuple[list[str], NDArray[np.intp]]:
        """Tags of what is logged of a statistic, and where in its values they stand."""
        assert self._logged is not None
        if statistic.subject is Subject.STEP:
            return [scalar_tag(statistic)], np.zeros(1, np.intp)
        columns = {variable.path: i for i, variable in enumerate(update.variables)}
        tags, places = [], []
        for i, layer in enumerate(update.layers):
            if i not in self._logged and layer.path not in self._flagged:
                continue
            place: int | None = i
            if statistic.subject is Subject.VARIABLE:
                place = columns.get(layer.kernel.variable) if layer.kernel is not None else None
            if place is not None:
                tags.append(scalar_tag(statistic, layer.path))
                places.append(place)
        return tags, np.array(places, np.intp)

    def _histograms(self, update: Update) -> Iterator[Summary.Value]:
        assert self._logged is not None
        chosen = {update.layers[i].path for i in self._logged}
        for histogram in update.histograms:
            if histogram.subject is Subject.LAYER:
                path = owner = update.layers[histogram.index].path
            else:
                variable = update.variables[histogram.index]
                path, owner = f"{variable.layer}/{variable.role}", variable.layer
            if owner in chosen:
                yield self._histogram(histogram_tag(histogram.quantity, path), histogram)

    def _histogram(self, tag: str, histogram: Histogram) -> Summary.Value:
        edges = np.linspace(histogram.low, histogram.high, len(histogram.counts) + 1)
        buckets = np.stack([edges[:-1], edges[1:], histogram.counts], axis=1).astype("<f4")
        shape = [TensorShapeProto.Dim(size=size) for size in buckets.shape]
        tensor = TensorProto(
            dtype=DT_FLOAT,
            tensor_shape=TensorShapeProto(dim=shape),
            tensor_content=buckets.tobytes(),
        )
        metadata = histogram_metadata.create_summary_metadata(display_name=None, description=None)
        return self._described_once(Summary.Value(tag=tag, tensor=tensor), metadata)

    def _text(self, tag: str, markdown: str) -> Summary.Value:
        value = Summary.Value(tag=tag, tensor=string_tensor(markdown.encode()))
        metadata = text_metadata.create_summary_metadata(display_name=None, description=None)
        return self._described_once(value, metadata)

    def _described_once(self, value: Summary.Value, metadata: SummaryMetadata) -> Summary.Value:
        """Metadata goes with the first value of each tag: readers take no other."""
        if value.tag not in self._described:
            self._described.add(value.tag)
            value.metadata.CopyFrom(metadata)
        return value


class Thinned:
    """Says which of a series are written: ever fewer, and each twofold has as many again.

    Args:
        first: so many are all written.
    """

    def __init__(self, first: int) -> None:
        self._first = first
        self._count = 0

    def due(self) -> bool:
        """True if the next one is written."""
        count, self._count = self._count, self._count + 1
        gap = 1
        while count >= self._first * gap:
            gap *= 2
        return count % gap == 0


def _evenly(layers: tuple[LayerSpec, ...]) -> list[int]:
    if len(layers) <= MAX_LAYERS:
        return list(range(len(layers)))
    return [int(i) for i in np.linspace(0, len(layers) - 1, MAX_LAYERS)]


def _charts() -> layout_pb2.Layout:
    """One chart a quantity with a curve a layer, for TensorBoards without our tab."""
    charts = [
        layout_pb2.Chart(
            title=statistic.value,
            multiline=layout_pb2.MultilineChartContent(tag=[chart_pattern(statistic)]),
        )
        for statistic in SCALARS
    ]
    return layout_pb2.Layout(
        category=[layout_pb2.Category(title="initwatch: one curve a layer", chart=charts)]
    )


def checked_log_dir(log_dir: str | os.PathLike[str]) -> Path:
    """``log_dir`` as a path, made if needed, proved to be writable.

    Raises:
        ArgumentError: if it is no local path.
        LogDirError: if it cannot be written.
    """
    if not isinstance(log_dir, (str, os.PathLike)) or not str(log_dir):
        raise ArgumentError(
            "log_dir must be the path of a folder (str or os.PathLike), or be left out for no "
            f"TensorBoard log. Received: {log_dir!r}"
        )
    if "://" in str(log_dir):
        raise ArgumentError(
            f"log_dir must be a folder of this machine, remote storage is not written to. "
            f"Received: {log_dir!r}. Log locally and copy the folder afterwards."
        )
    path = Path(log_dir).expanduser()
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise LogDirError(
            f"log_dir {str(path)!r} cannot be written ({error.strerror or error}). Give "
            "InitWatch a folder that can be, or leave log_dir out for no TensorBoard log."
        ) from error
    return path


# ---------------------------------------------------------------------- Markdown


def escaped(text: str) -> str:
    """Layer names and figures, safe inside Markdown tables."""
    for mark in ("\\", "|", "`", "_", "*", "<", ">", "[", "]"):
        text = text.replace(mark, f"\\{mark}")
    return text


def findings_markdown(findings: list[Finding]) -> str:
    """Findings with their evidence, as Markdown."""
    blocks = []
    for finding in findings:
        rows = "\n".join(
            f"| {escaped(name)} | {escaped(figure_text(value))} |"
            for name, value in finding.evidence.items()
        )
        where = f"\n\nLayers: {escaped(abbreviated(finding.layers))}" if finding.layers else ""
        blocks.append(
            f"### {finding.code} {escaped(finding.symptom)}: {finding.severity}, "
            f"step {finding.step}{_standing(finding)}\n\n{escaped(finding.message)}{where}\n\n"
            f"| evidence | value |\n|---|---|\n{rows}"
        )
    return "\n\n".join(blocks)


def _standing(finding: Finding) -> str:
    if finding.state == "recovered":
        return f", recovered after step {finding.last_step}"
    return f", follows from {finding.cause}" if finding.cause else ""


def advice_markdown(advice: list[Advice]) -> str:
    """Advice with its code, as Markdown."""
    blocks = []
    for part, text in by_trial(advice):
        for (code, reason), layers in grouped(part).items():
            where = f"For {escaped(abbreviated(layers))}:\n\n" if layers else ""
            blocks.append(f"{where}```python\n{code}\n```\n\n{escaped(reason)}")
        blocks += [f"Measured on a batch: {escaped(text)}"] if text else []
    return "\n\n".join(blocks)


def report_markdown(report: Report) -> str:
    """The whole report, as Markdown."""
    parts = [escaped(closing_line(report))]
    if report.findings:
        parts.append(findings_markdown(in_order(report.findings)))
    if report.advice:
        parts.append(f"### Advice\n\n{advice_markdown(report.advice)}")
    return "\n\n".join(parts)


def _key(advice: Advice) -> tuple[str, str, bool]:
    """What makes an advice another one to read."""
    return advice.layer, advice.code, advice.measured is not None
