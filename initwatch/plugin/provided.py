"""Logs as TensorBoard's data provider has them, read again only when they have grown."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tensorboard.data import provider
from tensorboard.plugins.histogram.metadata import PLUGIN_NAME as HISTOGRAMS

from initwatch.plugin.answers import histogram_tags, run_summary
from initwatch.plugin.log import NewerLogError, RunLog, assembled
from initwatch.plugin.metadata import MODEL, PLUGIN_NAME, parsed_tab_tag

_ALL = 10**9  # nothing is thinned out here: the writer has bounded the number of steps
_KEPT = 2  # logs kept decoded: that of 2,000 steps of 200 layers takes 25 MB


class Provided:
    """Reads runs through a data provider.

    A run is read anew when the newest step or time of one of its tags is another one.

    Args:
        data_provider: TensorBoard's, of either data path.
    """

    def __init__(self, data_provider: provider.DataProvider) -> None:
        self._provider = data_provider
        self._logs: dict[tuple[str, str], tuple[object, RunLog | None]] = {}
        self._summaries: dict[tuple[str, str], tuple[object, dict[str, Any] | None]] = {}

    def runs(self, context: Any, experiment: str) -> dict[str, object]:
        """Runs that have a model described, by name; to each what tells its states apart."""
        listed = self._provider.list_tensors(
            context, experiment_id=experiment, plugin_name=PLUGIN_NAME
        )
        return {
            run: sorted(
                (tag, series.max_step, series.max_wall_time) for tag, series in tags.items()
            )
            for run, tags in sorted(listed.items())
            if any((parsed_tab_tag(tag) or ("",))[0] == MODEL for tag in tags)
        }

    def summaries(self, context: Any, experiment: str) -> list[dict[str, Any]]:
        """``run_summary`` of every run; those of a later initwatch are left out."""
        found = []
        for run, state in self.runs(context, experiment).items():
            known = self._summaries.get((experiment, run))
            if known is None or known[0] != state:
                try:
                    log = self._log(context, experiment, run, state)
                    known = state, run_summary(log) if log is not None else None
                except NewerLogError:
                    known = state, None  # the reason is told to who asks for this run
                self._summaries[experiment, run] = known
            if known[1] is not None:
                found.append(known[1])
        return found

    def log(self, context: Any, experiment: str, run: str) -> RunLog | None:
        """A run without its histograms; None if there is no log of ours of that name.

        Raises:
            NewerLogError: if a later initwatch wrote it.
        """
        state = self.runs(context, experiment).get(run)
        return None if state is None else self._log(context, experiment, run, state)

    def _log(self, context: Any, experiment: str, run: str, state: object) -> RunLog | None:
        known = self._logs.get((experiment, run))
        if known is not None and known[0] == state:
            return known[1]
        log = assembled(run, self._read(context, experiment, PLUGIN_NAME, run))
        self._logs[experiment, run] = state, log
        for other in list(self._logs)[:-_KEPT]:
            self._logs.pop(other, None)
        return log

    def with_histograms(self, context: Any, experiment: str, log: RunLog, layer: str) -> RunLog:
        """The same run with the histograms of a layer."""
        tags = self._provider.list_tensors(
            context,
            experiment_id=experiment,
            plugin_name=HISTOGRAMS,
            run_tag_filter=provider.RunTagFilter(runs=[log.run]),
        )
        wanted = [tag for tag, _, _ in histogram_tags(tags.get(log.run, {}), layer)]
        read = self._read(context, experiment, HISTOGRAMS, log.run, wanted) if wanted else {}
        histograms = {
            tag: [(step, buckets) for step, _, buckets in series] for tag, series in read.items()
        }
        return replace(log, histograms=histograms)

    def _read(
        self,
        context: Any,
        experiment: str,
        plugin: str,
        run: str,
        tags: list[str] | None = None,
    ) -> dict[str, list[tuple[int, float, Any]]]:
        read = self._provider.read_tensors(
            context,
            experiment_id=experiment,
            plugin_name=plugin,
            downsample=_ALL,
            run_tag_filter=provider.RunTagFilter(runs=[run], tags=tags),
        )
        return {
            tag: [(datum.step, datum.wall_time, datum.numpy) for datum in series]
            for tag, series in read.get(run, {}).items()
        }
