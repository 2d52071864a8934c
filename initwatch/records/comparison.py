"""Short runs side by side that differ by their initializer only, ranked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from initwatch.records.report import Report, figure_text

Verdict = Literal["lowest", "worse", "not told apart", "failed"]


# compared by identity: arrays have no equality of their own
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Run:
    """One candidate trained under one seed.

    Attributes:
        label: the candidate's.
        seed: weights and data order were drawn under it.
        losses: float64[steps], the loss of each step; NaN for steps that were not reached.
        first_loss: the loss of the first step, that of the initial weights.
        final_loss: median of the last tenth of the steps; NaN if one of them is not finite.
        area: area under the loss curve [loss x steps]; NaN if a loss is not finite.
        report: what initwatch found.
        failure: what ended the run early, empty if nothing did.
    """

    label: str
    seed: int
    losses: NDArray[np.float64]
    first_loss: float
    final_loss: float
    area: float
    report: Report
    failure: str = ""

    @property
    def finite(self) -> bool:
        """True if it was trained to the end and its final loss is a number."""
        return not self.failure and bool(np.isfinite(self.final_loss))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Candidate:
    """An initializer and how it did.

    Attributes:
        label: its name in tables and folders.
        initializer: as it was given.
        runs: one a seed.
        final_loss: mean over seeds of the runs' final losses; NaN if one of them is not finite.
        interval: where the mean of many seeds would lie; NaN with one seed, or as above.
        difference: mean over seeds of its final loss minus the best's, of the same seed.
        p_value: how probable a difference as large would be between equals, corrected for the
            number of pairs; NaN for the best itself, with one seed, or as above.
        verdict: ``lowest``: the best of the ranking; ``worse``: than that one, by more than chance
            explains; ``not told apart`` from it with so many seeds; ``failed``: a run did not end
            with a finite loss.
    """

    label: str
    initializer: Any
    runs: tuple[Run, ...]
    final_loss: float
    interval: tuple[float, float]
    difference: float
    p_value: float
    verdict: Verdict

    @property
    def losses(self) -> NDArray[np.float64]:
        """float64[seeds, steps]."""
        return np.stack([run.losses for run in self.runs])

    @property
    def first_loss(self) -> float:
        """Mean over seeds of the first step's loss."""
        return float(np.mean([run.first_loss for run in self.runs]))

    @property
    def healthy(self) -> int:
        """Runs in which nothing worse than ``info`` was found."""
        return sum(run.report.healthy for run in self.runs)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Comparison:
    """Initializers ranked by the loss that short runs come to.

    Attributes:
        candidates: lowest final loss first; behind them those with a run that did not end with
            a finite loss, fewest such runs first.
        seeds: runs of each candidate.
        steps: optimizer steps of each run.
        confidence: of the intervals; 1 - confidence is the level the p-values are held against.
    """

    candidates: tuple[Candidate, ...]
    seeds: int
    steps: int
    confidence: float

    @property
    def ranking(self) -> list[str]:
        """Labels, best first."""
        return [candidate.label for candidate in self.candidates]

    @property
    def best(self) -> Candidate:
        """The first of the ranking; look at ``sure`` before you trust it."""
        return self.candidates[0]

    @property
    def sure(self) -> bool:
        """True if the best is told apart from every other, or every other has failed."""
        first, *others = [candidate.verdict for candidate in self.candidates]
        return first == "lowest" and all(verdict in ("worse", "failed") for verdict in others)

    @property
    def losses(self) -> Mapping[str, NDArray[np.float64]]:
        """Label to float64[seeds, steps]."""
        return {candidate.label: candidate.losses for candidate in self.candidates}

    def __getitem__(self, label: str) -> Candidate:
        for candidate in self.candidates:
            if candidate.label == label:
                return candidate
        raise KeyError(label)

    def __str__(self) -> str:
        return "\n".join([*_table(self), "", verdict_line(self)])


def verdict_line(comparison: Comparison) -> str:
    """Who is best, and whether that is sure."""
    best = comparison.best
    if best.verdict == "failed":
        return "No candidate ended with a finite loss in every run."
    loss = figure_text(best.final_loss)
    seeds = "one seed" if comparison.seeds == 1 else f"{comparison.seeds} seeds"
    worse, untold, failed = (
        _listed([c.label for c in comparison.candidates if c.verdict == verdict])
        for verdict in ("worse", "not told apart", "failed")
    )
    sentences = []
    if untold:
        sentences.append(
            f"No difference can be told between {best.label} and {untold} with {seeds}; "
            f"{best.label} came out lowest, at {loss}."
        )
        sentences.append(
            "One run each shows no scatter to hold it against: take seeds=3 or more."
            if comparison.seeds == 1
            else "More seeds tell smaller differences apart."
        )
        if worse:
            sentences.append(f"Worse than {best.label}: {worse}.")
    elif worse:
        sentences.append(
            f"{best.label} is best: its final loss, {loss}, is below that of {worse} by more than "
            f"chance explains over {seeds} (p < {1.0 - comparison.confidence:.2g})."
        )
    else:
        sentences.append(f"{best.label} is best, with a final loss of {loss}.")
    if failed:
        sentences.append(f"Not every run ended with a finite loss: {failed}.")
    return " ".join(sentences)


def _listed(labels: Sequence[str]) -> str:
    if len(labels) < 2:
        return "".join(labels)
    return f"{', '.join(labels[:-1])} and {labels[-1]}"


def _table(comparison: Comparison) -> list[str]:
    percent = f"{100 * comparison.confidence:.0f} % interval"
    header = ["", "initializer", "final loss", percent, "to best", "p", "first loss", "healthy", ""]
    rows = [
        [str(place), *_cells(candidate)]
        for place, candidate in enumerate(comparison.candidates, start=1)
    ]
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in [header, *rows]
    ]


def _cells(candidate: Candidate) -> list[str]:
    low, high = candidate.interval
    spread = "" if np.isnan(low) else f"{figure_text(low)} to {figure_text(high)}"
    told = candidate.verdict in ("worse", "not told apart")
    p = candidate.p_value
    figure = "" if np.isnan(p) else "< 0.0001" if p < 1e-4 else f"{p:.2g}"
    return [
        candidate.label,
        figure_text(candidate.final_loss),
        spread,
        f"{candidate.difference:+.4g}" if told else "",
        figure,
        figure_text(candidate.first_loss),
        f"{candidate.healthy} of {len(candidate.runs)}",
        _remark(candidate),
    ]


def _remark(candidate: Candidate) -> str:
    if candidate.verdict != "failed":
        return "" if candidate.verdict == "lowest" else candidate.verdict
    total = len(candidate.runs)
    ended = [run.failure for run in candidate.runs if run.failure]
    endless = sum(not run.finite for run in candidate.runs) - len(ended)
    parts = [f"not finite in {endless} of {total} runs"] if endless else []
    if ended:
        parts.append(f"{len(ended)} of {total} runs failed ({ended[0]})")
    return ", ".join(parts)
