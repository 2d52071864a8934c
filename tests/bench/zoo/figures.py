"""What trainings measure of the figures that rules hold against their limits.

    python -m tests.bench.zoo.figures [NAME ...]

One line a training: the largest update ratio of a kernel over the first 5 sampled steps and over
the last 10, the highest loss on the way relative to the larger of start and constant guess, by
how much of a guess the loss swings three times in its second half, the loss's largest sensitivity
to a kernel in the first 10 sampled steps (0 where it is not known), by how many times the norm of
all gradients grew at most since the first step, and the largest ratio of the kernels' gradients to
the kernels in the first 10 sampled steps. Of all healthy trainings, or of those named.
"""

import sys
from dataclasses import replace

import numpy as np

import initwatch
from initwatch.diagnosis import updates
from initwatch.diagnosis.course import course_of
from initwatch.diagnosis.rules.exploding_gradient import to_weights, whole_norms
from initwatch.diagnosis.rules.oscillating_loss import OscillatingLoss, swings
from initwatch.diagnosis.rules.stalled_loss import StalledLoss
from initwatch.diagnosis.sensitivity import sensitivity
from tests.bench.zoo.healthy import HEALTHY
from tests.bench.zoo.sick import SICK
from tests.bench.zoo.training import trained


def last_history(name):
    """What the rules saw at the end of a training."""
    kept = []

    class Keeps(StalledLoss):
        """A rule that only looks."""

        def check(self, history):
            kept[:] = [history]
            return iter(())

    watch = initwatch.InitWatch(console=False, rules=[Keeps()])
    trained((HEALTHY | SICK)[name].training, 0, watch)
    return kept[0] if kept else None


def highest(history):
    """The highest loss on the way, as DivergingLoss sees it."""
    found = 0.0
    for n in range(10, len(history.losses) + 1):
        part = replace(
            history,
            losses=history.losses[:n],
            loss_steps=history.loss_steps[:n],
            trivial_losses=history.trivial_losses[:n],
            error_shares=history.error_shares[:n],
        )
        course = course_of(part, 10)
        if course is not None and course.ceiling > 0.0:
            found = max(found, course.trend.end / course.ceiling)
    return found


def swing(history):
    """The largest swing that the loss makes three times, in twentieths of a guess."""
    course = course_of(history)
    if course is None:
        return np.nan  # lost within ten losses
    spans = OscillatingLoss().spans
    late = history.losses[len(history.losses) // 2 :]
    starts = np.arange(spans) * len(late) // spans
    means = np.add.reduceat(late, starts) / np.diff([*starts, len(late)])
    means /= course.guess if course.guess is not None else course.trend.start
    sizes = np.arange(1, 21) / 20.0
    return max((s for s in sizes if swings(means, s) >= OscillatingLoss().turns), default=0.0)


def main():
    print("training                 first  last   highest  swing  sensitivity  growth  to weights")
    for name in sys.argv[1:] or sorted(HEALTHY):
        history = last_history(name)
        if history is None:
            print(f"{name:24} not judged: no loss was measured")
            continue
        kernels = updates.kernels(history)
        first, last = (
            np.nanmax(updates.ratios(history, kernels, rows))
            for rows in (slice(0, 5), slice(-10, None))
        )
        figures = f"{first:.4f} {last:.4f} {highest(history):8.2f} {swing(history):6.2f}"
        steep = sensitivity(history, kernels, slice(10)).max(initial=0.0)
        whole = whole_norms(history)
        figures += f" {steep:8.1f} {np.nanmax(whole) / whole[0]:9.1e}"
        figures += f" {to_weights(history, kernels, slice(10)).max(initial=0.0):9.1e}"
        print(f"{name:24} {figures}", flush=True)


if __name__ == "__main__":
    main()
