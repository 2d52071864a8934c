"""One training's machinery: capture, memory, diagnosis, advice, outlets. No arithmetic here."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol

import keras
import numpy as np

from initwatch.advice.advisor import advise
from initwatch.advice.alternatives import Alternatives, Change
from initwatch.advice.initializers import given_arguments
from initwatch.advice.reinitialize import inner_optimizer
from initwatch.advice.run import unfreeze
from initwatch.advice.trial import try_out
from initwatch.capture.session import Sample, Session
from initwatch.capture.targets import facts_of
from initwatch.diagnosis.engine import Engine
from initwatch.diagnosis.rule import Rule
from initwatch.diagnosis.rules.unchanged_weights import UnchangedWeights
from initwatch.errors import Faults, NothingToTrainError, NotReadyError, UnsupportedError
from initwatch.measurement.layout import Group
from initwatch.measurement.moments import measure
from initwatch.measurement.recorder import Recorder
from initwatch.measurement.trend import has_jumped
from initwatch.outlets.console import ConsoleOutlet
from initwatch.outlets.outlet import Outlet
from initwatch.records import Advice, Finding, History, Reinitialized, Report, Subject
from initwatch.records.training import Training
from initwatch.records.update import Histogram, Update, Withdrawn
from initwatch.schedule import Agenda, Schedule

# Steps of an audit: a zero-initialised residual branch passes its first gradient on at the third.
AUDITED = 3

Listener = Callable[[list[Finding]], None]


class Mender(Protocol):
    """Who may change the model."""

    def spare(self, history: History) -> frozenset[str]:
        """Paths of variables that are not to be drawn anew."""

    def mend(self, report: Report, step: int) -> list[Reinitialized]:
        """Applies what ``report`` advises; what was changed, when ``step`` steps were taken."""


class Watch:
    """One fit's machinery: capture, memory, diagnosis, advice, outlets. Dropped afterwards.

    Args:
        rules: what to look for.
        schedule: when to sample.
    """

    def __init__(self, rules: Sequence[Rule], schedule: Schedule) -> None:
        self.outlets: list[Outlet] = []
        self.listeners: list[Listener] = []
        self.batch = 0  # batches (executions) of this fit so far
        self.progress = False  # a progress bar stands unfinished on the line
        self._agenda = Agenda(schedule)
        self._faults = Faults(self._tell)
        self._rules = rules
        self._engine = Engine(rules, self._faults)
        self._withdrawn: list[Withdrawn] = []  # told before, and not yet taken back aloud
        self._session: Session | None = None
        self._recorder: Recorder | None = None
        self._advice: list[Advice] = []
        self._proposed: list[Advice] = []  # theory's advice that was tried last
        self._tried: list[Advice] = []  # what the trial made of it
        self._alternatives: Alternatives | None = None  # what was tried of other kinds
        self._news = False  # something was found that those who may change the model do not know
        self._untried = False  # there is advice that has not been measured
        self._unsaid: list[Finding] = []  # found, but not yet told to those who wait
        self._past: list[Finding] = []  # findings on weights that have been drawn anew since
        self._changes: list[Reinitialized] = []
        self.menders: list[Mender] = []
        self._training = Training("SGD", None)  # until the first epoch begins

    # ------------------------------------------------------------------ lifetime

    def begin(
        self,
        model: keras.Model,
        earlier: Session | None,
        whole: bool = False,
        loop: bool = False,
    ) -> Session | None:
        """Before the first batch; ``earlier`` is the session of the fit before, if any.

        Args:
            model: compiled.
            earlier: used again if it can be.
            whole: a batch is all the data there is.
            loop: a loop of the user's calls the model's ``train_on_batch``.

        Returns:
            the session of this fit, None if there is nothing that can be observed.
        """
        self._model = model
        self._engine.patient = not self.menders
        try:
            reusable = earlier is not None and not earlier.broken and earlier.serves(model, whole)
            self._session = earlier if reusable else Session(model, whole, loop)
            assert self._session is not None
            self._session.attach(self._faults, self._receive)
            self._session.want_again()
        except (NotReadyError, UnsupportedError) as error:
            if isinstance(error, NothingToTrainError) and model.weights:
                frozen = [rule.frozen(len(model.weights)) for rule in self._unchanged()]
                self._past += frozen
                self._advice = [unfreeze(finding) for finding in frozen]
            self._faults.add("start", f"{error} Training goes on; nothing is measured.")
        except Exception as error:
            # whatever Keras's insides hold that we did not expect, training must start
            self._faults.add(
                "start",
                f"this model cannot be observed ({type(error).__name__}: {error}). "
                "Training goes on; nothing is measured.",
            )
        return self._session

    def _unchanged(self) -> list[UnchangedWeights]:
        """The rule on weights that stay as they are, if it was asked for."""
        return [rule for rule in self._rules if isinstance(rule, UnchangedWeights)]

    def open_outlet(self, outlet: Outlet, step: int) -> None:
        """Adds an outlet to this fit."""
        self.outlets.append(outlet)
        with self._contained(outlet):
            outlet.open(step)

    def say_shared(self, name: str) -> None:
        """A second callback of the suite was given rules or a schedule of its own."""
        self._faults.add(
            f"{name}'s arguments",
            f"the rules and schedule given to this {name} are not used: those of the first "
            "initwatch callback in the list hold for all. Give them to that one.",
        )

    def say_untried(self, name: str) -> None:
        """What is advised cannot be measured here, and is therefore not applied."""
        self._faults.add(
            f"{name}'s trial",
            f"this training's step cannot be measured again, so {name} draws nothing anew. Apply "
            "the advice before training: initwatch.reinitialize(model, watch.report).",
        )

    def epoch(self) -> None:
        """An epoch begins."""
        self._agenda.epoch()
        self.progress = False
        # asked now: between the batches of an epoch JAX's variables have no values
        with self._faults.contained("advice", "it may name another optimizer or rate."):
            self._training = training_of(self._model)

    def epoch_over(self, loss: Any) -> None:
        """An epoch has ended, with the mean loss that Keras reports, None if there is none."""
        if self._recorder is not None and isinstance(loss, (int, float)):
            self._recorder.add_epoch(float(loss))

    def arm(self) -> None:
        """A batch begins."""
        # not when the last one ended: with a hook there, Keras would wait for every batch's logs
        self.between()
        batch, self.batch = self.batch, self.batch + 1
        if self._session is None or not self._agenda.due(batch):
            return
        with self._faults.contained("capture", "nothing more is measured."):
            self._session.arm(histograms=self._agenda.take(batch))

    def end(self) -> None:
        """After the last batch."""
        if self._session is not None:
            self._session.disarm()
        self._judge_the_last()
        self.between(last=True)
        self._announce()
        report = self.report()
        for outlet in self.outlets:
            with self._contained(outlet):
                outlet.close(report)

    def _judge_the_last(self) -> None:
        """Past the first rows rules are asked every few steps; and some speak of a fit's end."""
        recorder = self._recorder
        if recorder is None:
            return
        found = self._judged(replace(recorder.history(), over=True))
        if found:
            self._emit(self._update(news=tuple(found)))
            self._unsaid += found

    def audit(self, model: keras.Model, batch: tuple[Any, Any, Any]) -> Report:
        """What the first steps on one batch (x, y, sample_weight) show; they are undone.

        Raises:
            NotReadyError: if the model is not compiled, or has nothing to train.
            UnsupportedError: if its step cannot be observed, or not undone.
        """
        self._model = model
        self._session = Session(model)
        self._session.attach(self._faults, self._receive)
        self._training = training_of(model)
        with self._session.looking():
            for sample in self._session.look(AUDITED, *batch):
                self._receive(sample)
            self.between()
        return self.report()

    # ------------------------------------------------------------------ a sampled step

    def _receive(self, sample: Sample) -> None:
        structure = sample.structure
        if self._recorder is None or self._recorder.layers != structure.layers:
            self._recorder = Recorder(structure.layers, structure.variables, structure.output)
        outputs = [layer.outputs for layer in structure.layers]
        news: list[Finding] = []
        for i, row in enumerate(sample.rows):
            values = self._recorder.add(
                measure(row, structure.layout, outputs), sample.active[i], structure.layout
            )
            history = self._recorder.history()
            found = self._judged(history)
            news += found
            newest = i == len(sample.rows) - 1
            histograms = _histograms(sample) if newest else ()
            self._emit(self._update(values=values, histograms=histograms, news=tuple(found)))
            self._news = self._news or bool(found)
            if found or has_jumped(history.losses):
                self._agenda.alarm(self.batch - 1)
        self._unsaid += news
        if news:
            for listener in self.listeners:
                with self._faults.contained("listener", "nobody is told of this finding."):
                    listener(news)
        if not self._untried:
            self._announce()
        self.progress = True

    def between(self, last: bool = False) -> None:
        """Between two batches: what is advised is measured, and applied where that is wanted.

        Args:
            last: no batch follows: nothing is applied any more.
        """
        if self._session is None or self._recorder is None:
            return
        if self._untried:
            self._try_out(self._session, self._recorder)
        elif not self._news:
            return
        self._news = False
        for mender in [] if last else self.menders:
            with self._faults.contained("re-initialisation", "nothing more is drawn anew."):
                self._session.settle()
                changes = mender.mend(self.report(), self._recorder.last_step + 1)
                if changes:
                    self._begin_anew(changes)
                    break  # what another one would go by is past

    def _try_out(self, session: Session, recorder: Recorder) -> None:
        """Measures what is advised."""
        self._untried = False
        changed = False
        with self._faults.contained("trial", "advice rests on theory alone."):
            session.settle()
            history = recorder.history()
            spare = frozenset().union(*(mender.spare(history) for mender in self.menders))
            proposed = self._advice
            # what is only worth knowing is not worth a trial
            tried = self._answering_grave(proposed)
            mends = bool(self.menders)
            advice = try_out(
                self._model, tried, history, self._measured_again, spare, mends, self._tried
            )
            if self._alternatives is None:
                self._alternatives = Alternatives(self._model, _Lab(session, self._faults))
            advice = self._alternatives.measured(advice, history)
            self._advice = [*advice, *(item for item in proposed if item not in tried)]
            self._proposed, self._tried = proposed, self._advice
            changed = self._advice != proposed
        self._announce(changed)

    def _answering_grave(self, advice: Sequence[Advice]) -> list[Advice]:
        """The advice that answers a finding of severity warning or error."""
        found = [*self._engine.findings, *self._past]
        grave = {finding.code for finding in found if finding.severity != "info"}
        return [item for item in advice if grave & set(item.codes)]

    def _measured_again(self, steps: int = 1) -> History | None:
        """Steps on the newest batches with the weights as they are; they leave no trace."""
        assert self._session is not None
        return _as_history(self._session.probe(steps))

    def _announce(self, changed: bool = False) -> None:
        """Tells what was found to those who wait for advice that has been measured.

        Args:
            changed: the trial has made other advice of it: the others are told of that.
        """
        news, self._unsaid = self._unsaid, []
        withdrawn, self._withdrawn = self._withdrawn, []
        if not (news or withdrawn) or self._recorder is None:
            return
        update = self._update(news=tuple(news), tried=True, withdrawn=tuple(withdrawn))
        for outlet in self.outlets:
            if outlet.waits or changed:
                with self._contained(outlet):
                    outlet.emit(update)

    def _begin_anew(self, changes: list[Reinitialized]) -> None:
        """Weights have been drawn anew: what was found on the old ones is past."""
        assert self._recorder is not None
        step = self._recorder.last_step
        self._changes += changes
        for finding in self._engine.findings:
            past = replace(finding, severity="info", state="recovered", last_step=step, cause="")
            self._past.append(past)
        self._emit(self._update(changes=tuple(changes)))
        self._engine = Engine(self._rules, self._faults, patient=not self.menders)
        self._recorder = None
        self._advice, self._proposed, self._tried = [], [], []
        self._alternatives = None
        self._agenda.alarm(self.batch - 1)

    def _update(self, **given: Any) -> Update:
        """What is told of the newest step, or behind it."""
        assert self._recorder is not None
        return Update(
            step=self._recorder.last_step,
            layers=self._recorder.layers,
            variables=self._recorder.variables,
            report=self.report(),
            **{"values": {}, "histograms": (), "news": (), **given},
        )

    def _judged(self, history: History) -> list[Finding]:
        """What is newly found; what is to be done about it is worked out anew."""
        found: list[Finding] = []
        with self._faults.contained("rules", "no further diagnosis in this run."):
            found = self._engine.judge(history)
            self._withdrawn += self._engine.withdrawn()
        if found:
            with self._faults.contained("advice", "findings come without advice."):
                proposed = advise(self._engine.active, history, self._training)
                known = _same(self._proposed, proposed)
                self._advice = _answering(self._tried, proposed) if known else proposed
                self._untried = not known and bool(proposed)
        return found

    def _emit(self, update: Update) -> None:
        for outlet in self.outlets:
            with self._contained(outlet):
                outlet.emit(replace(update, news=()) if outlet.waits else update)

    def _contained(self, outlet: Outlet) -> Any:
        """Containment of an outlet's fault: it is reported once and the outlet left out."""
        return _Contained(self, outlet)

    def drop(self, outlet: Outlet, error: Exception) -> None:
        """An outlet has failed: no more is sent to it."""
        self.outlets = [other for other in self.outlets if other is not outlet]
        text = " ".join(str(error).split())[:300]
        self._faults.add(
            outlet.name,
            f"the {outlet.name} cannot be written any more ({type(error).__name__}: {text}). "
            "Training goes on; what was written is kept.",
        )

    def _tell(self, message: str) -> None:
        """Hands one line to every outlet that shows lines."""
        if not any(isinstance(outlet, ConsoleOutlet) for outlet in self.outlets):
            sys.stderr.write(f"initwatch: {message}\n")
        for outlet in self.outlets:
            outlet.note(message)

    def report(self) -> Report:
        """Everything found so far."""
        recorder = self._recorder
        findings = self._engine.findings
        now = {finding.code for finding in findings}
        past = [finding for finding in self._past if finding.code not in now]
        return Report(
            findings=[*findings, *past],
            # what has recovered or is only worth knowing needs no advice
            advice=self._answering_grave(self._advice),
            steps_seen=recorder.rows_seen if recorder else 0,
            last_step=recorder.last_step if recorder else -1,
            abstained=self._engine.abstained,
            changes=list(self._changes),
            problems=self._faults.problems,
        )


class _Lab:
    """Training steps on the newest batch, measured: see ``alternatives.Lab``."""

    def __init__(self, session: Session, faults: Faults) -> None:
        self._session = session
        self._faults = faults

    def here(self, steps: int, change: Change | None = None) -> History | None:
        return _as_history(self._session.probe(steps, change))

    def elsewhere(self, model: keras.Model, steps: int) -> History | None:
        batch = self._session.newest_batch()
        if batch is None:
            return None
        session = Session(model)
        samples: list[Sample] = []
        session.attach(self._faults, samples.append)
        if not model.run_eagerly:
            return _as_history(session.look(steps, *batch))
        for _ in range(steps):
            session.arm(histograms=False)
            model.train_on_batch(*batch)
        return _as_history(samples)


def _as_history(samples: Sequence[Sample]) -> History | None:
    """The first step of each sample; None if there is none."""
    if not samples:
        return None
    structure = samples[0].structure
    outputs = [layer.outputs for layer in structure.layers]
    recorder = Recorder(structure.layers, structure.variables, structure.output)
    for sample in samples:
        measurement = measure(sample.rows[0], structure.layout, outputs)
        recorder.add(measurement, sample.active[0], structure.layout)
    return recorder.history()


def _same(known: Sequence[Advice], proposed: Sequence[Advice]) -> bool:
    """True if the same is proposed as before, be it for more findings."""

    def lines(advice: Sequence[Advice]) -> list[tuple[str, str, str]]:
        return [(item.layer, item.variable, item.code) for item in advice]

    return bool(known) and lines(known) == lines(proposed)


def _answering(tried: Sequence[Advice], proposed: Sequence[Advice]) -> list[Advice]:
    """What was tried, as the answer to the findings of now."""
    codes = tuple(sorted({code for item in proposed for code in item.codes}))
    return [replace(item, codes=codes) for item in tried]


class _Contained:
    """``with`` block around a call of an outlet."""

    def __init__(self, watch: Watch, outlet: Outlet) -> None:
        self._watch, self._outlet = watch, outlet

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if not isinstance(error, Exception):
            return False
        self._watch.drop(self._outlet, error)
        return True


def _histograms(sample: Sample) -> tuple[Histogram, ...]:
    if sample.histograms is None:
        return ()
    return tuple(
        _histogram(group, values)
        for group, values in zip(
            sample.structure.histogram_groups, sample.histograms.astype(np.float64), strict=True
        )
    )


def _histogram(group: Group, values: Any) -> Histogram:
    quantity = group.source.value
    subject = Subject.LAYER if quantity == "activation" else Subject.VARIABLE
    low, high = float(values[0]), float(values[1])
    return Histogram(quantity, subject, group.subject, low, high, values[2:])


def _only(loss: Any) -> Any:
    """The loss of a model with one output."""
    losses = list(loss.values()) if isinstance(loss, dict) else loss
    if isinstance(losses, (list, tuple)):
        return losses[0] if len(losses) == 1 else None
    return losses


def training_of(model: keras.Model) -> Training:
    """The compiled optimizer and loss as advice needs them."""
    loss = facts_of(_only(getattr(model, "loss", None))).name or None
    outer = getattr(model, "optimizer", None)
    optimizer = inner_optimizer(outer)
    if optimizer is None:
        return Training("SGD", None, loss)
    rate = getattr(optimizer, "_learning_rate", None)
    known = None
    if rate is not None and not isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
        known = float(keras.ops.convert_to_numpy(optimizer.learning_rate))
    settings = given_arguments(optimizer)
    for name in ("learning_rate", "name", "loss_scale_factor"):
        settings.pop(name, None)
    return Training(type(optimizer).__name__, known, loss, settings, outer is not optimizer)
