"""Advice that is no initializer, measured: input scale, learning rate, activation, normalisation.

Each is rehearsed for a few training steps on the newest batch, beside as many steps of the model
as it is, and all is put back. What cannot be rehearsed in the model itself is rehearsed in a copy.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, Protocol

import keras
import numpy as np
from numpy.typing import NDArray

from initwatch.advice import copies
from initwatch.advice.pretrained import drawn_anew, not_as_drawn
from initwatch.advice.reinitialize import begun_anew, inner_optimizer
from initwatch.advice.run import diverged, look_at_labels
from initwatch.advice.trial import MARGIN, STEPS, Signals, figures_of, signals
from initwatch.records import Advice, History, LayerSpec

# Smith 2017, sec. 3.3 looks at a range of rates; these and the present one are tried.
RATES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
# The smallest rate whose loss falls so far, as a share of the best one's, has something in hand.
ENOUGH = 0.9
# Share of the loss by which a rate must lower it to be told from one that does nothing.
TOLD = 0.02
LOWER = 0.1  # share by which a change must lower it more than as many steps without it
# No copy is begun later than so many seconds after the first rehearsal of a trial.
SECONDS = 30.0
COPIED = frozenset({"activation", "normalization"})  # kinds that take a copy of the model
# Kinds whose effect on the loss a few steps do tell, if only by its sign.
_TOLD_AT_ONCE = COPIED
# Findings that a smaller or a larger learning rate answers.
TOO_LARGE = frozenset({"IW301", "IW402", "IW502", "IW503"})
TOO_SMALL = frozenset({"IW401", "IW403"})

Change = Callable[[NDArray[Any]], NDArray[Any]]


class Lab(Protocol):
    """Measures training steps on the newest batch; they leave no trace."""

    def here(self, steps: int, change: Change | None = None) -> History | None:
        """Steps of the model from the weights it has now, ``change`` made to the batch's x.

        None if that cannot be done.
        """

    def elsewhere(self, model: keras.Model, steps: int) -> History | None:
        """Steps of another model on the same batch; None if the batch is not kept."""


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What a rehearsal showed.

    Attributes:
        signals: of its first step.
        loss: after ``STEPS`` steps, infinite where it is no number.
    """

    signals: Signals
    loss: float


@dataclass(frozen=True, slots=True)
class _Tried:
    """An advice after its rehearsal.

    Attributes:
        advice: with what was measured, or the reason why nothing was.
        helps: None if nothing was measured.
    """

    advice: Advice
    helps: bool | None


class Alternatives:
    """Measures what is advised besides initializers, each thing once.

    Args:
        model: it is left as it is.
        lab: measures steps.
    """

    def __init__(self, model: keras.Model, lab: Lab) -> None:
        self._model = model
        self._lab = lab
        self._known: dict[tuple[str, str, str, tuple[str, ...]], _Tried] = {}
        self._before: _Outcome | None = None  # of this trial's batch

    def measured(self, advice: Sequence[Advice], history: History) -> list[Advice]:
        """The same advice, that of other kinds measured where it can be.

        What is seen to help comes first, behind initializers that do, and what is seen not to
        comes last, or not at all where a few steps do tell. An output that does not fit its loss
        or labels is answered before all: without that, a loss that falls says nothing. So are
        inputs out of scale whose scaling helps: what weights suit is asked once they are in scale.
        Where there is an initializer that helps, no copy of the model is made.
        """
        began, self._before = time.monotonic(), None
        initializers = [item for item in advice if item.kind == "initializer"]
        helped = any(item.measured is not None for item in initializers)
        found: list[tuple[int, Advice]] = []
        rates_rank = 3  # of rates that were advised before
        for group in _groups([item for item in advice if item.kind != "initializer"]):
            first = group[0]
            # in which direction a rate may go depends on what was found
            codes = first.codes if first.kind == "learning_rate" else ()
            key = (first.kind, first.layer, first.code, codes)
            if key not in self._known and not (helped and first.kind in COPIED):
                late = time.monotonic() - began > SECONDS
                self._known[key] = self._tried(group, history, late)
            tried = self._known.get(key, _Tried(first, None))
            # what helps, what was not tried, what does not
            rank = (True, None, False).index(tried.helps)
            if first.kind == "data":
                rank = 0  # one batch is learned by heart at some rate, whatever its labels are
            if first.kind == "learning_rate":
                rates_rank = min(rates_rank, rank)
            if first.kind == "normalization" and rates_rank <= 2:
                rank = max(rank, rates_rank)  # which helps against much, is no cause
            if _lies_before_weights(first, tried):
                rank = -1
            known = tried.advice
            found += [
                (
                    rank,
                    replace(
                        item,
                        suggested=known.suggested,
                        code=known.code,
                        reason=known.reason,
                        measured=known.measured,
                    ),
                )
                for item in group
            ]
        before = [item for rank, item in found if rank < 0]
        told = sorted((pair for pair in found if pair[0] >= 0), key=lambda pair: pair[0])
        useful = [item for rank, item in told if not (rank == 2 and item.kind in _TOLD_AT_ONCE)]
        # where it is all there is: normalizing is a guess, another activation has a reason
        others = useful or [
            item for _, item in told if item.kind != "normalization" or not _made_worse(item)
        ]
        rates = [item for item in others if item.kind == "learning_rate"]
        if rates and rates[0].measured is not None:
            # a rate that helps speaks for all that ask for another one
            codes = tuple(sorted({code for item in rates for code in item.codes}))
            best = replace(rates[0], codes=codes)
            others = [
                best if item is rates[0] else item for item in others if item not in rates[1:]
            ]
        stalled = any("IW501" in item.codes for item in others)
        # another activation has a reason of its own
        reasoned = before or initializers or any(x.kind == "activation" for x in others)
        if stalled and not reasoned and told[0][0] == 2:
            others = [look_at_labels("Nothing that was tried helps."), *others]
        return [*before, *initializers, *others]

    def _tried(self, group: Sequence[Advice], history: History, late: bool) -> _Tried:
        """One change, to several layers perhaps."""
        item = group[0]
        try:
            if item.kind in COPIED and late:
                raise CannotTryError(f"others took {SECONDS:.0f} seconds")
            if item.kind == "input_scale":
                return self._scaled(item, history)
            if item.kind == "learning_rate":
                return self._rated(item, history)
            # that a network can bend does not show in so few steps
            if item.kind == "activation" and item.current != "linear":
                return self._activated(item, group, history)
            if item.kind == "normalization":
                return self._normalized(item, history)
        except (CannotTryError, copies.CannotCopyError) as error:
            return _Tried(replace(item, reason=f"{item.reason} Not tried: {error}."), None)
        return _Tried(item, None)

    def _as_it_is(self) -> _Outcome:
        if self._before is None:
            self._before = self._outcome(self._lab.here(STEPS + 1))
        return self._before

    @staticmethod
    def _outcome(history: History | None) -> _Outcome:
        if history is None or len(history.losses) <= STEPS:
            raise CannotTryError("this training's step cannot be taken again")
        loss = float(history.losses[STEPS])
        return _Outcome(signals(history, 0), loss if np.isfinite(loss) else np.inf)

    # ------------------------------------------------------------------ in the model itself

    def _scaled(self, item: Advice, history: History) -> _Tried:
        """Where the inputs have ruined the weights, from those that the run began with."""
        touched = []

        def standardized(x: NDArray[Any]) -> NDArray[Any]:
            touched.append(True)
            values = x.astype("float64")
            made: NDArray[Any] = (values - values.mean(axis=0)) / (values.std(axis=0) + 1e-7)
            return made

        ruined = self._is_ruined(history)
        with _as_it_began(self._model, history) if ruined else nullcontext():
            after = self._outcome(self._lab.here(STEPS + 1, standardized))
            if not touched:
                raise CannotTryError("the inputs are whole numbers")
            before = self._outcome(self._lab.here(STEPS + 1)) if ruined else self._as_it_is()
        return _compared(item, before, after)

    def _rated(self, item: Advice, history: History) -> _Tried:
        """A learning rate range test (Smith 2017, sec. 3.3)."""
        rate = _rate_of(self._model)
        if rate is None:
            raise CannotTryError("the learning rate follows a schedule")
        present = float(f"{float(keras.ops.convert_to_numpy(rate)):.6g}")  # as it was typed
        first, losses = self._losses_at(rate, present, item, history)
        falls = {value: first - loss for value, loss in losses.items()}
        allowed = [
            value
            for value in falls
            if value != present
            and not (value > present and TOO_LARGE & set(item.codes))
            and not (value < present and TOO_SMALL & set(item.codes))
        ]
        told = ", ".join(f"{value:.3g}: {losses[value]:.4g}" for value in sorted(losses))
        reason = (
            f"{item.reason} Learning rate range test (Smith 2017, sec. 3.3), loss after {STEPS} "
            f"steps on one of your batches, from {first:.4g}: {told}."
        )
        fall = max((falls[value] for value in allowed), default=-np.inf)
        if not fall > TOLD * abs(first) or falls[present] >= ENOUGH * fall:
            item = replace(item, reason=f"{reason} In so few steps none tells itself apart.")
            alone = item.codes == ("IW501",)
            if alone:  # nothing else speaks for another one
                code = f"# the learning rate may stay at {present:.3g}"
                item = replace(item, suggested="the present one", code=code)
            return _Tried(item, False if alone else None)
        chosen = min(value for value in allowed if falls[value] >= ENOUGH * fall)
        measured = {
            "learning_rate_before": present,
            "learning_rate_after": chosen,
            f"loss_after_{STEPS}_steps_before": losses[present],
            f"loss_after_{STEPS}_steps_after": losses[chosen],
        }
        code = _with_rate(item.code, f"{chosen:.3g}")
        done = replace(item, suggested=f"{chosen:.3g}", code=code, reason=reason, measured=measured)
        return _Tried(done, True)

    def _losses_at(
        self, rate: Any, present: float, item: Advice, history: History
    ) -> tuple[float, dict[float, float]]:
        """The loss before any step, and learning rate -> loss after ``STEPS``."""
        losses = {}
        first = np.nan
        with _as_it_began(self._model, history):
            for value in sorted({*RATES, present, *_numbers(item.suggested)}):
                with _at(rate, value):
                    measured = self._lab.here(STEPS + 1)
                losses[value] = self._outcome(measured).loss
                assert measured is not None
                first = float(measured.losses[0])
        if not np.isfinite(first):
            raise CannotTryError("the loss is no number before the first step")
        return first, losses

    # ------------------------------------------------------------------ in a copy

    def _activated(self, item: Advice, group: Sequence[Advice], history: History) -> _Tried:
        wanted = {advice.layer for advice in group}
        layers = [layer for layer in history.layers if wanted & {layer.path, layer.signal}]
        tried: list[_Tried] = []
        before = self._as_it_is()
        for name, initializer in _activations(item):
            exchange = copies.other_activation(layers, name, initializer, self._model)
            code = f'activation="{name}", kernel_initializer="{initializer}"'
            given = item if name == item.suggested else replace(item, suggested=name, code=code)
            tried.append(_compared(given, before, self._in_copy(exchange, history)))
            if tried[-1].helps:
                return tried[-1]
        if not tried:
            raise CannotTryError("no activation is named")
        return tried[0]

    def _normalized(self, item: Advice, history: History) -> _Tried:
        hidden: list[LayerSpec] = [
            layer
            for layer in history.layers
            if layer.kernel is not None
            and not layer.is_output
            and not layer.normalized
            and item.layer in ("", layer.path, layer.signal)
        ]
        kind = item.suggested.split()[0]
        exchange = copies.with_normalization(hidden, kind, self._model)
        if exchange is None:
            raise CannotTryError("none of the layers is of a kind that it can be put in")
        return _compared(item, self._as_it_is(), self._in_copy(exchange, history))

    def _in_copy(self, exchange: copies.Exchange, history: History) -> _Outcome:
        with copies.copied(self._model, exchange, keep=not self._is_ruined(history)) as copy:
            return self._outcome(self._lab.elsewhere(copy, STEPS + 1))

    def _is_ruined(self, history: History) -> bool:
        """True if steps have driven weights out of range; the newest, behind the history, too."""
        weights = map(keras.ops.convert_to_numpy, self._model.trainable_variables)
        return diverged(history) or not all(np.isfinite(values).all() for values in weights)


class CannotTryError(Exception):
    """An advice cannot be rehearsed; says why."""


def _lies_before_weights(item: Advice, tried: _Tried) -> bool:
    """True for what no weights make up for: an output that does not fit, dropout or a penalty
    that leaves nothing, frozen layers, targets out of scale, and inputs where scaling them helps.
    """
    if item.kind == "output_loss":
        return "IW602" in item.codes
    if item.kind in ("regularization", "target_scale", "optimizer"):
        return True
    return item.kind == "input_scale" and "IW601" in item.codes and bool(tried.helps)


def _made_worse(item: Advice) -> bool:
    figures = item.measured or {}
    before, after = (figures.get(f"loss_after_{STEPS}_steps_{w}") for w in ("before", "after"))
    return before is not None and after is not None and not after < before


def _compared(item: Advice, before: _Outcome, after: _Outcome) -> _Tried:
    measured = {
        **figures_of(before.signals, after.signals),
        f"loss_after_{STEPS}_steps_before": before.loss,
        f"loss_after_{STEPS}_steps_after": after.loss,
    }
    helps = _helps(before, after)
    reason = item.reason if helps else f"{item.reason} In {STEPS} steps it did not help."
    return _Tried(replace(item, measured=measured, reason=reason), helps)


def _activations(item: Advice) -> list[tuple[str, str]]:
    """(activation, initializer) to try, what is advised first."""
    initializer = "lecun_normal" if item.suggested == "selu" else "he_normal"
    known = callable(getattr(keras.activations, str(item.suggested), None))
    first = [(item.suggested, initializer)] if known else []
    if item.suggested != "relu" or not first:
        return first
    return [*first, ("selu", "lecun_normal")]


def _groups(advice: Sequence[Advice]) -> Iterator[list[Advice]]:
    """What belongs together: the same change to several layers."""
    groups: dict[tuple[str, str], list[Advice]] = {}
    for item in advice:
        groups.setdefault((item.kind, item.code), []).append(item)
    yield from groups.values()


def _helps(before: _Outcome, after: _Outcome) -> bool:
    """True if the signals are clearly more even, or the loss clearly lower after the steps."""
    if not np.isfinite(after.loss):
        return False
    cost = after.signals.cost
    more_even = np.isfinite(cost) and cost <= before.signals.cost - MARGIN
    return bool(more_even or after.loss <= (1.0 - LOWER) * before.loss)


# --------------------------------------------------------------------------- learning rate


def _rate_of(model: keras.Model) -> Any:
    """The variable that holds the learning rate, None if it is worked out by a schedule."""
    rate = getattr(inner_optimizer(model.optimizer), "_learning_rate", None)
    return rate if isinstance(rate, keras.Variable) else None


def _with_rate(code: str, rate: str) -> str:
    """The line that makes an optimizer, with another learning rate."""
    changed, count = re.subn(r"learning_rate=[^,)]+", f"learning_rate={rate}", code)
    return changed if count else f"# learning_rate: {rate}"


def _numbers(text: Any) -> list[float]:
    """The rate that is advised, where it is a number."""
    try:
        return [float(text)]
    except ValueError:
        return []


@contextmanager
def _at(rate: Any, value: float) -> Iterator[None]:
    before = keras.ops.convert_to_numpy(rate).copy()
    rate.assign(value)
    try:
        yield
    finally:
        rate.assign(before)


@contextmanager
def _as_it_began(model: keras.Model, history: History) -> Iterator[None]:
    """For the while, weights and optimizer stand as at the start of a training; then all is put
    back.

    A rate is for the whole of a run, and weights that the present one has ruined cannot tell
    which would do. Weights that were loaded, or whose initializer is not known, stay as they are.
    """
    anew = None if not_as_drawn(model, history) else drawn_anew(model, history)
    if anew is None:
        yield
        return
    touched = model.trainable_variables
    before = [keras.ops.convert_to_numpy(variable).copy() for variable in touched]
    with begun_anew(model.optimizer, touched):
        try:
            for variable, values in anew:
                variable.assign(values)
            yield
        finally:
            for variable, value in zip(touched, before, strict=True):
                variable.assign(value)
