"""The Keras callbacks, and what stands beside them: thin conductors of order and lifetime."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import keras

from initwatch.advice.pretrained import not_as_drawn
from initwatch.advice.reinitialize import begin_anew, reinitialize
from initwatch.advice.trial import has_exploded, is_decisive
from initwatch.capture.session import Session, writes_logs
from initwatch.diagnosis.catalogue import CATALOGUE, default_rules
from initwatch.diagnosis.rule import Rule
from initwatch.errors import ArgumentError
from initwatch.outlets.console import ConsoleOutlet
from initwatch.outlets.tensorboard import TensorBoardOutlet
from initwatch.records import Finding, History, Reinitialized, Report
from initwatch.records.finding import SEVERITIES, Severity
from initwatch.schedule import Schedule
from initwatch.watch import Watch


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
        self._begin(first, whole=(self.params or {}).get("steps") == 1)
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

    def _begin(self, first: _Watching, whole: bool = False, loop: bool = False) -> None:
        """A training begins; ``first`` is the callback of the suite that conducts.

        ``whole``: a batch is all the data there is. ``loop``: the user's own calls it.
        """
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
            self._session = watch.begin(self.model, self._session, whole, loop)
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
        _check_trains(model, "watching(model)")
        self.set_model(model)
        # through __dict__, past Keras's attribute tracking
        attributes = model.__dict__
        outer = attributes.get("train_on_batch")
        known = getattr(outer, "conductor", None)
        conductor = known if isinstance(known, _Watching) else self
        self._begin(conductor, loop=True)
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

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if self._conducts and self._watch is not None:
            self._watch.epoch_over((logs or {}).get("loss"))

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        if self._arms and self._watch is not None:
            self._watch.arm()

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
            fewer down to about each 50th, and the next 10 after a finding or a jump of the loss.
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
    candidates are drawn and measured on a batch of the training (``Advice.measured``). It acts on
    findings of severity ``error`` (this run will not learn as it is), and on a ``warning`` where
    biases or weights are far from any textbook's and the trial evens out the signals a hundredfold.
    What the optimizer keeps of the layers it changes begins anew; where the loss had exploded, that
    of all layers does. Everything it does is said, logged and kept in ``changes``.

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
        grave = {finding.code for finding in report.findings if finding.severity == "error"}
        advised = [
            advice
            for advice in report.advice
            if advice.kind == "initializer"
            and (grave & set(advice.codes) or is_decisive(advice, report.advice))
        ]
        sure = [advice for advice in advised if advice.measured is not None]
        if advised and not sure:
            self._watch.say_untried(type(self).__name__)
        changed = reinitialize(self.model, replace(report, advice=sure)) if sure else []
        if any(has_exploded(advice) for advice in sure):
            # gradients of that size stand in the slots of the layers that stay as well: Adam, for
            # one, would not move those for thousands of steps, or divide by infinity
            begin_anew(self.model.optimizer, self.model.trainable_variables)
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


def audit(
    model: keras.Model,
    x: Any,
    y: Any = None,
    sample_weight: Any = None,
    *,
    rules: Iterable[Rule] | None = None,
) -> Report:
    """Looks at a model before it is trained: what the first steps on one batch would show.

    ::

        report = initwatch.audit(model, x[:64], y[:64])
        print(report)
        initwatch.reinitialize(model, report)

    Three training steps on the batch are measured and undone: weights, optimizer, metrics and
    random state are afterwards what they were, bit for bit. A model that is not built is built as
    its first step would build it. Advice is tried on the batch as in a training.

    Args:
        model: compiled.
        x: one batch, as for ``model.train_on_batch``: an array, or a list or dict of them.
        y: its labels, likewise.
        sample_weight: their weights, likewise.
        rules: as in ``InitWatch``.

    Returns:
        the report, of steps 0 to 2.

    Raises:
        ArgumentError: if ``model`` is no compiled Keras model, or a rule is none.
        NotReadyError: if the model has no trainable weights.
        UnsupportedError: if its training step cannot be observed, or not undone.
    """
    _check_trains(model, "audit(model, x, y)")
    return Watch(_checked_rules(rules), Schedule()).audit(model, (x, y, sample_weight))


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


def _check_trains(model: Any, what: str) -> None:
    if not isinstance(model, keras.Model) or not model.compiled:
        raise ArgumentError(
            f"{what} needs a compiled keras.Model; call model.compile(optimizer=..., loss=...) "
            f"first. Received: {model!r}"
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
