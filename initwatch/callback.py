"""The Keras callbacks: conductors of order and lifetime. No arithmetic here."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Protocol

import keras
import numpy as np

from initwatch.advice.advisor import advise
from initwatch.advice.pretrained import not_as_drawn
from initwatch.advice.reinitialize import reinitialize
from initwatch.advice.trial import try_out
from initwatch.capture.labels import loss_name
from initwatch.capture.session import Sample, Session, writes_logs
from initwatch.diagnosis.catalogue import CATALOGUE, default_rules
from initwatch.diagnosis.engine import Engine
from initwatch.diagnosis.rule import Rule
from initwatch.errors import ArgumentError, Faults, NotReadyError, UnsupportedError
from initwatch.measurement.layout import Group
from initwatch.measurement.moments import measure
from initwatch.measurement.recorder import Recorder
from initwatch.measurement.trend import has_jumped
from initwatch.outlets.console import ConsoleOutlet
from initwatch.outlets.outlet import Outlet
from initwatch.outlets.tensorboard import TensorBoardOutlet
from initwatch.records import Advice, Finding, History, Reinitialized, Report, Subject
from initwatch.records.finding import SEVERITIES, Severity
from initwatch.records.training import Training
from initwatch.records.update import Histogram, Update
from initwatch.schedule import Agenda, Schedule

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
        self._session: Session | None = None
        self._recorder: Recorder | None = None
        self._advice: list[Advice] = []
        self._untried = False  # there is advice that has not been measured
        self._unsaid: list[Finding] = []  # found, but not yet told to those who wait
        self._past: list[Finding] = []  # findings on weights that have been drawn anew since
        self._changes: list[Reinitialized] = []
        self.menders: list[Mender] = []
        self._training = Training("SGD", None)  # until the first epoch begins

    # ------------------------------------------------------------------ lifetime

    def begin(self, model: keras.Model, earlier: Session | None) -> Session | None:
        """Before the first batch; ``earlier`` is the session of the fit before, if any.

        Returns:
            the session of this fit, None if there is nothing that can be observed.
        """
        self._model = model
        try:
            reusable = earlier is not None and not earlier.broken and earlier.serves(model)
            self._session = earlier if reusable else Session(model)
            assert self._session is not None
            self._session.attach(self._faults, self._receive)
            self._session.want_again()
        except (NotReadyError, UnsupportedError) as error:
            self._faults.add("start", f"{error} Training goes on; nothing is measured.")
        except Exception as error:
            # whatever Keras's insides hold that we did not expect, training must start
            self._faults.add(
                "start",
                f"this model cannot be observed ({type(error).__name__}: {error}). "
                "Training goes on; nothing is measured.",
            )
        return self._session

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

    def epoch(self) -> None:
        """An epoch begins."""
        self._agenda.epoch()
        self.progress = False
        # asked now: between the batches of an epoch JAX's variables have no values
        with self._faults.contained("advice", "it may name another optimizer or rate."):
            self._training = training_of(self._model)

    def arm(self) -> None:
        """A batch begins."""
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
        self._announce()
        report = self.report()
        for outlet in self.outlets:
            with self._contained(outlet):
                outlet.close(report)

    def _judge_the_last(self) -> None:
        """Past the first rows rules are asked every few steps: the newest have not been judged."""
        recorder = self._recorder
        if recorder is None:
            return
        found = self._judged(recorder.history(), last=True)
        if found:
            self._emit(self._update(news=tuple(found)))
            self._unsaid += found

    # ------------------------------------------------------------------ a sampled step

    def _receive(self, sample: Sample) -> None:
        structure = sample.structure
        if self._recorder is None or self._recorder.layers != structure.layers:
            self._recorder = Recorder(structure.layers, structure.variables, structure.output)
        outputs = [layer.outputs for layer in structure.layers]
        news: list[Finding] = []
        for i, row in enumerate(sample.rows):
            measurement = measure(row, structure.layout, outputs)
            values = self._recorder.add(measurement, sample.active[i], structure.layout)
            history = self._recorder.history()
            found = self._judged(history)
            news += found
            newest = i == len(sample.rows) - 1
            self._emit(
                Update(
                    step=measurement.step,
                    layers=structure.layers,
                    variables=structure.variables,
                    values=values,
                    histograms=_histograms(sample) if newest else (),
                    news=tuple(found),
                    report=self.report(),
                )
            )
            if found or has_jumped(history.losses):
                self._agenda.alarm(self.batch - 1)
        self._unsaid += news
        if not self._untried:
            self._announce()
        self.progress = True

    def between(self) -> None:
        """A batch has ended: what is advised is measured, and applied where that is wanted."""
        if not self._untried or self._session is None or self._recorder is None:
            return
        self._untried = False
        tried = False
        with self._faults.contained("trial", "advice rests on theory alone."):
            self._session.settle()
            history = self._recorder.history()
            spare = frozenset().union(*(mender.spare(history) for mender in self.menders))
            self._advice = try_out(self._model, self._advice, history, self._measured_again, spare)
            tried = any(advice.measured is not None for advice in self._advice)
        self._announce(tried)
        for mender in self.menders:
            with self._faults.contained("re-initialisation", "nothing more is drawn anew."):
                changes = mender.mend(self.report(), self._recorder.last_step + 1)
                if changes:
                    self._begin_anew(changes)

    def _measured_again(self) -> History | None:
        """One step on the newest batches with the weights as they are; it leaves no trace."""
        assert self._session is not None
        sample = self._session.probe()
        if sample is None:
            return None
        structure = sample.structure
        outputs = [layer.outputs for layer in structure.layers]
        recorder = Recorder(structure.layers, structure.variables, structure.output)
        measurement = measure(sample.rows[0], structure.layout, outputs)
        recorder.add(measurement, sample.active[0], structure.layout)
        return recorder.history()

    def _announce(self, tried: bool = False) -> None:
        """Tells what was found to those who wait for advice that has been measured."""
        news, self._unsaid = self._unsaid, []
        if not news or self._recorder is None:
            return
        update = self._update(news=tuple(news), tried=True)
        for outlet in self.outlets:
            if outlet.waits or tried:
                with self._contained(outlet):
                    outlet.emit(update)
        for listener in self.listeners:
            with self._faults.contained("listener", "nobody is told of this finding."):
                listener(news)

    def _begin_anew(self, changes: list[Reinitialized]) -> None:
        """Weights have been drawn anew: what was found on the old ones is past."""
        assert self._recorder is not None
        step = self._recorder.last_step
        self._changes += changes
        for finding in self._engine.findings:
            past = replace(finding, severity="info", state="recovered", last_step=step, cause="")
            self._past.append(past)
        self._emit(self._update(news=(), changes=tuple(changes)))
        self._engine = Engine(self._rules, self._faults)
        self._recorder = None
        self._advice = []
        self._agenda.alarm(self.batch - 1)

    def _update(self, **given: Any) -> Update:
        """What is told between two sampled steps."""
        assert self._recorder is not None
        return Update(
            step=self._recorder.last_step,
            layers=self._recorder.layers,
            variables=self._recorder.variables,
            values={},
            histograms=(),
            report=self.report(),
            **given,
        )

    def _judged(self, history: History, last: bool = False) -> list[Finding]:
        """What is newly found; what is to be done about it is worked out anew."""
        found: list[Finding] = []
        with self._faults.contained("rules", "no further diagnosis in this run."):
            found = self._engine.judge(history, last)
        if found:
            with self._faults.contained("advice", "findings come without advice."):
                active = [f for f in self._engine.findings if f.state == "active"]
                self._advice = advise(active, history, self._training)
                self._untried = not last and bool(self._advice)
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
        codes = {finding.code for finding in findings if finding.state == "active"}
        return Report(
            findings=[*findings, *past],
            # what has recovered needs no advice
            advice=[advice for advice in self._advice if codes & set(advice.codes)],
            steps_seen=recorder.rows_seen if recorder else 0,
            last_step=recorder.last_step if recorder else -1,
            abstained=self._engine.abstained,
            changes=list(self._changes),
            problems=self._faults.problems,
        )


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


def training_of(model: keras.Model) -> Training:
    """The compiled optimizer and loss as advice needs them."""
    loss = loss_name(getattr(model, "loss", None))
    optimizer = getattr(model, "optimizer", None)
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    if optimizer is None:
        return Training("SGD", None, loss)
    rate = getattr(optimizer, "_learning_rate", None)
    known = None
    if rate is not None and not isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
        known = float(keras.ops.convert_to_numpy(optimizer.learning_rate))
    return Training(type(optimizer).__name__, known, loss)


def _callback_list() -> keras.callbacks.CallbackList | None:
    """The list that is calling ``on_train_begin``, None if someone calls it by hand.

    Keras gives a callback no handle on its list. It is needed for two things: callbacks of the
    suite find each other, and arming comes after every other callback's
    ``on_train_batch_begin``, so that an exception raised there finds nothing installed.
    """
    frame = sys._getframe(1)
    for _ in range(12):
        owner = frame.f_locals.get("self")
        if isinstance(owner, keras.callbacks.CallbackList):
            return owner
        if frame.f_back is None:
            return None
        frame = frame.f_back
    return None


class _LastWord(keras.callbacks.Callback):  # type: ignore[misc]  # keras is untyped
    """Stands last in the list and arms the batch after all others have had their say."""

    watch: Watch | None = None

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        if self.watch is not None:
            self.watch.arm()


class _Watching(keras.callbacks.Callback):  # type: ignore[misc]  # keras is untyped
    """What the callbacks of the suite have in common: one ``Watch`` a fit, shared by all."""

    def __init__(self, rules: Iterable[Rule] | None, schedule: Schedule | None) -> None:
        super().__init__()
        self._brings_its_own = rules is not None or schedule is not None
        self._rules = _checked_rules(rules)
        self._schedule = _checked_schedule(schedule)
        self._watch: Watch | None = None
        self._session: Session | None = None
        self._conducts = False
        self._arms = False

    @property
    def report(self) -> Report:
        """What was found so far; also in the middle of fit, and after an exception in it."""
        return self._watch.report() if self._watch is not None else Report()

    def on_train_begin(self, logs: Any = None) -> None:
        callbacks = _callback_list()
        first = self
        if callbacks is not None:
            first = next((c for c in callbacks.callbacks if isinstance(c, _Watching)), self)
        self._begin(first)
        if self._watch is None or not self._conducts:
            return
        if callbacks is None:
            self._arms = True
            return
        last = next((c for c in callbacks.callbacks if isinstance(c, _LastWord)), None)
        if last is None:
            last = _LastWord()
            last.set_model(self.model)
            callbacks.callbacks.append(last)
        last.watch = self._watch

    def _begin(self, first: _Watching) -> None:
        """A training begins; ``first`` is the callback of the suite that conducts."""
        self._conducts = first is self
        self._arms = False
        if self._conducts:
            self._watch = Watch(self._rules, self._schedule)
        else:
            self._watch = first._watch
        watch = self._watch
        if watch is None:  # a sibling that stands before us did not begin
            return
        self._join(watch)
        if self._conducts:
            # a step traced for an earlier fit is used again while the model is compiled the same
            self._session = watch.begin(self.model, self._session)
        elif self._brings_its_own:
            watch.say_shared(type(self).__name__)

    @contextmanager
    def watching(self, model: keras.Model) -> Iterator[None]:
        """Watches a loop of ``model.train_on_batch``, where no ``fit`` calls the callback.

        ::

            with watch.watching(model):
                for x, y in batches:
                    model.train_on_batch(x, y)

        Each ``train_on_batch`` inside the block is a batch of the schedule. The report is whole
        when the block ends, also by an exception. ``StopOnFinding`` cannot end a loop that is not
        its own: look at ``stopped_by``.

        Raises:
            ArgumentError: if ``model`` is no Keras model or not compiled.
        """
        _check_trains(model)
        self.set_model(model)
        # through __dict__, past Keras's attribute tracking
        attributes = model.__dict__
        outer = attributes.get("train_on_batch")
        known = getattr(outer, "conductor", None)
        conductor = known if isinstance(known, _Watching) else self
        self._begin(conductor)
        original = model.train_on_batch

        def train_on_batch(*args: Any, **kwargs: Any) -> Any:
            if self._conducts and self._watch is not None:
                model.make_train_function()  # ours stands in for it, never in its place
                self._watch.arm()
            result = original(*args, **kwargs)
            if self._conducts and self._watch is not None:
                self._watch.between()
            return result

        train_on_batch.conductor = conductor  # type: ignore[attr-defined]
        self.on_epoch_begin(0)
        attributes["train_on_batch"] = train_on_batch
        try:
            yield
        finally:
            attributes.pop("train_on_batch", None)
            if outer is not None:
                attributes["train_on_batch"] = outer
            self.on_train_end()

    def _join(self, watch: Watch) -> None:
        """Adds what this callback brings to the fit's watch."""
        raise NotImplementedError

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if self._conducts and self._watch is not None:
            self._watch.epoch()

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        if self._arms and self._watch is not None:
            self._watch.arm()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if self._conducts and self._watch is not None:
            self._watch.between()

    def on_train_end(self, logs: Any = None) -> None:
        if self._conducts and self._watch is not None:
            self._watch.end()


class InitWatch(_Watching):
    """Watches a training: measures the real step, flags faults, suggests initializers, logs.

    ::

        watch = initwatch.InitWatch("logs/run1")
        model.fit(x, y, callbacks=[watch])
        watch.report.healthy, watch.report.findings, watch.report.advice

    The weights after training are those without the callback, bit for bit: sampled steps are
    rehearsed and compared with the model's own. The README tells how, and what it costs.

    Args:
        log_dir: folder for TensorBoard; the run ``initwatch`` is made inside it. Left out, no
            log is written.
        schedule: which batches are sampled; by default the first 20 of each fit, then ever
            fewer down to each 50th, and the next 10 after a finding or a jump of the loss.
        rules: rules to check, such as ``initwatch.default_rules()`` with one left out or with
            other thresholds; all by default.
        console: False keeps the terminal silent; what is found stands in ``report``.

    Raises:
        ArgumentError: if an argument is wrong (also a ValueError).
        LogDirError: if ``log_dir`` cannot be written (also an OSError).
    """

    def __init__(
        self,
        log_dir: str | os.PathLike[str] | None = None,
        *,
        schedule: Schedule | None = None,
        rules: Iterable[Rule] | None = None,
        console: bool = True,
    ) -> None:
        super().__init__(rules, schedule)
        if not isinstance(console, bool):
            raise ArgumentError(f"console must be True or False. Received: {console!r}")
        self._console = console
        # made now, so that a folder that cannot be written is told before the data is loaded
        self._log = TensorBoardOutlet(log_dir) if log_dir is not None else None

    def _join(self, watch: Watch) -> None:
        if not writes_logs():
            return
        step = _step_of(self.model)
        if self._console and not any(isinstance(o, ConsoleOutlet) for o in watch.outlets):
            verbose = (self.params or {}).get("verbose", 0)
            bar = verbose in (1, "auto")
            watch.open_outlet(ConsoleOutlet(in_progress=lambda: bar and watch.progress), step)
        if self._log is not None:
            watch.open_outlet(self._log, step)


class AutoReinit(InitWatch):
    """Watches as ``InitWatch`` does, and draws badly initialised layers anew.

    It acts in the first steps of a fit only, and only on what a trial has shown to be better: the
    candidates are drawn and measured on a batch of the training (``Advice.measured``). What the
    optimizer keeps of the layers it changes begins anew. Everything it does is said, logged and
    kept in ``changes``.

    Left alone are frozen layers, and weights that do not look like a draw of their layer's own
    initializer: loaded, trained before, or set by hand.

    Args:
        log_dir: as in ``InitWatch``.
        steps: it acts after so many batches of a fit and not later.
        layers: paths of layers, such as ``net/dense_3``, that may be drawn anew, also if their
            weights look loaded; by default all that do not.
        schedule: as in ``InitWatch``.
        rules: as in ``InitWatch``.
        console: as in ``InitWatch``.

    Attributes:
        changes: what was drawn anew in this fit, a ``Reinitialized`` each.

    Raises:
        ArgumentError: if an argument is wrong (also a ValueError).
        LogDirError: if ``log_dir`` cannot be written (also an OSError).
    """

    def __init__(
        self,
        log_dir: str | os.PathLike[str] | None = None,
        *,
        steps: int = 10,
        layers: Iterable[str] | None = None,
        schedule: Schedule | None = None,
        rules: Iterable[Rule] | None = None,
        console: bool = True,
    ) -> None:
        super().__init__(log_dir, schedule=schedule, rules=rules, console=console)
        if not isinstance(steps, int) or isinstance(steps, bool) or steps < 1:
            raise ArgumentError(f"steps must be a whole number, 1 or more. Received: {steps!r}")
        if layers is not None and (isinstance(layers, str) or not isinstance(layers, Iterable)):
            raise ArgumentError(
                f"layers must be a list of layer paths such as 'net/dense_3'. Received: {layers!r}"
            )
        self._steps = steps
        self._named = None if layers is None else frozenset(layers)

    @property
    def changes(self) -> list[Reinitialized]:
        """What was drawn anew in this fit."""
        return self.report.changes

    def _join(self, watch: Watch) -> None:
        super()._join(watch)
        watch.menders.append(self)

    def spare(self, history: History) -> frozenset[str]:
        """Paths of variables that are not to be drawn anew."""
        if self._named is None:
            return not_as_drawn(self.model, history)
        unknown = sorted(self._named - {layer.path for layer in history.layers})
        if unknown:
            raise ArgumentError(
                f"AutoReinit(layers=...) names {', '.join(unknown)}; the model has "
                f"{', '.join(layer.path for layer in history.layers)}."
            )
        return frozenset(v.path for v in history.variables if v.layer not in self._named)

    def mend(self, report: Report, step: int) -> list[Reinitialized]:
        """Draws anew what a trial has shown to be better; what was changed."""
        assert self._watch is not None
        if self._watch.batch > self._steps:
            return []
        grave = {finding.code for finding in report.findings if finding.severity != "info"}
        sure = [
            advice
            for advice in report.advice
            if advice.kind == "initializer"
            and advice.measured is not None
            and grave & set(advice.codes)
        ]
        changed = reinitialize(self.model, replace(report, advice=sure)) if sure else []
        return [replace(change, step=step) for change in changed]


class StopOnFinding(_Watching):
    """Ends training when a finding appears, and says which.

    Args:
        codes: rule codes such as ``["IW201"]``, or symptoms such as ``["non_finite"]``; any by
            default.
        severity: the least severity to stop at: ``info``, ``warning`` or ``error``.
        rules: as in ``InitWatch``; used if this is the first callback of the suite in the list.
        schedule: as in ``InitWatch``; used if this is the first callback of the suite.

    Attributes:
        stopped_by: the finding that ended training, None if none did.

    Raises:
        ArgumentError: if a code or the severity is unknown.
    """

    def __init__(
        self,
        codes: Iterable[str] | None = None,
        severity: Severity = "error",
        *,
        rules: Iterable[Rule] | None = None,
        schedule: Schedule | None = None,
    ) -> None:
        super().__init__(rules, schedule)
        known = {rule.code for rule in self._rules} | {rule.symptom for rule in self._rules}
        self._codes = _checked_codes(codes, known)
        if severity not in SEVERITIES:
            raise ArgumentError(
                f"severity must be one of {', '.join(SEVERITIES)}. Received: {severity!r}"
            )
        self._severity = severity
        self.stopped_by: Finding | None = None

    def _join(self, watch: Watch) -> None:
        self.stopped_by = None
        watch.listeners.append(self._heard)

    def _heard(self, news: list[Finding]) -> None:
        if self.stopped_by is not None:
            return
        least = SEVERITIES.index(self._severity)
        for finding in news:
            chosen = self._codes is None or {finding.code, finding.symptom} & self._codes
            if chosen and SEVERITIES.index(finding.severity) >= least:
                self.stopped_by = finding
                self.model.stop_training = True
                assert self._watch is not None
                self._watch._tell(
                    f"training is stopped at step {finding.step} by {finding.code} "
                    f"{finding.symptom} ({finding.severity}): {finding.message}"
                )
                return


def _checked_codes(codes: Iterable[str] | None, known: set[str]) -> frozenset[str] | None:
    if codes is None:
        return None
    expected = f"codes must be among {', '.join(sorted(known))}."
    if not isinstance(codes, Iterable):
        raise ArgumentError(f"{expected} Received: {codes!r}")
    chosen = [codes] if isinstance(codes, str) else list(codes)
    wrong = [code for code in chosen if code not in known]
    if wrong:
        raise ArgumentError(f"{expected} Received: {', '.join(str(code) for code in wrong)}")
    return frozenset(chosen)


def _check_trains(model: Any) -> None:
    if not isinstance(model, keras.Model) or not model.compiled:
        raise ArgumentError(
            "watching(model) needs a compiled keras.Model; call model.compile(optimizer=..., "
            f"loss=...) first. Received: {model!r}"
        )


def _step_of(model: keras.Model) -> int:
    """The optimizer's count, 0 for a model without one."""
    optimizer = getattr(model, "optimizer", None)
    if optimizer is None:
        return 0
    return int(keras.ops.convert_to_numpy(optimizer.iterations))


def _checked_schedule(schedule: Schedule | None) -> Schedule:
    if schedule is not None and not isinstance(schedule, Schedule):
        raise ArgumentError(
            "schedule must be an initwatch.Schedule, such as Schedule(first=20, every=50). "
            f"Received: {schedule!r}"
        )
    return schedule or Schedule()


def _checked_rules(rules: Iterable[Rule] | None) -> list[Rule]:
    if rules is None:
        return default_rules()
    expected = "rules must be rules such as initwatch.default_rules() gives."
    if not isinstance(rules, Iterable) or isinstance(rules, str):
        raise ArgumentError(f"{expected} Received: {rules!r}")
    chosen = list(rules)
    for rule in chosen:
        if not isinstance(rule, CATALOGUE) and not all(
            hasattr(rule, name) for name in ("code", "symptom", "needs", "retracted", "check")
        ):
            raise ArgumentError(f"{expected} Received: {rule!r}")
    return chosen
