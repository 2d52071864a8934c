"""One model's capture during one fit: a second train function, armed for single batches.

The model's own train function is never changed: on a sampled batch ours takes its place just
before ``fit`` looks it up, gives it back before it runs, and hands out the rows afterwards.
Batches that are not sampled run the user's own compiled step.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from initwatch.capture import activations as activation_functions
from initwatch.capture import backends
from initwatch.capture.backends.protocol import Rehearsal, TrainFunction, same
from initwatch.capture.observer import LOST, Observer, Shadows
from initwatch.capture.reductions import HISTOGRAM_WIDTH
from initwatch.capture.row import Reading, Row, build_row, variable_specs
from initwatch.capture.topology import describe_layers, unique_paths
from initwatch.errors import Faults, NothingToTrainError, NotReadyError, UnsupportedError
from initwatch.measurement.layout import Group, Layout
from initwatch.measurement.replicas import whole_step
from initwatch.records.layer import Activation, LayerSpec, VariableSpec
from initwatch.records.output import Output
from initwatch.theory.fans import units_of

# So many sampled executions are rehearsed before the instrumented step is trusted, and after
# them the first of every epoch. Of 120 random networks (tests/bench/bit_identity.py --random)
# every one that the compiler regrouped showed it at the first or the second rehearsal.
CHECKS = 8


@dataclass(frozen=True, slots=True)
class Structure:
    """What the rows of a session mean.

    Attributes:
        layout: what stands where in a row.
        layers: the layers of the row, in signal order.
        variables: the trainable variables of the row.
        histogram_groups: what each histogram was taken of.
        unread: paths of layers whose output is not read, so that the step's arithmetic stays.
        output: what the model predicts with.
    """

    layout: Layout
    layers: tuple[LayerSpec, ...]
    variables: tuple[VariableSpec, ...]
    histogram_groups: tuple[Group, ...]
    unread: tuple[str, ...]
    output: Output


@dataclass(frozen=True, slots=True)
class Sample:
    """What one sampled execution gave: one row a step, histograms of its last step."""

    structure: Structure
    rows: NDArray[np.float32]
    active: NDArray[np.bool_]
    histograms: NDArray[np.float32] | None


class Session:
    """Observes a model's training steps.

    Args:
        model: compiled. One that is not built is built from its first batch, as its own first
            step would build it.
        whole: a batch is all the data there is, as where an epoch has one step.
        loop: it is trained by a loop of the user's, which may freeze it for some of its steps.

    Raises:
        NotReadyError: if the model is not compiled, or built and without trainable weights.
        UnsupportedError: if its training cannot be observed.
    """

    def __init__(self, model: keras.Model, whole: bool = False, loop: bool = False) -> None:
        _check_compiled(model)
        self._backend = backends.current()
        refusal = self._backend.refusal(model)
        if refusal is not None:
            raise UnsupportedError(refusal)
        self.model = model
        self._whole = whole
        self._loop = loop
        self.broken = False
        self._train_function = model.__dict__.get("train_function")
        self._faults = Faults(lambda message: None)
        self._deliver: Callable[[Sample], None] = lambda sample: None
        self._instrumented: TrainFunction | None = None
        self._has_run = False
        self._rehearsal: Rehearsal | None = None
        self._asked = False  # whether this fit's steps can be rehearsed
        self._again_wanted = False  # whether ``probe`` is to be had
        self._checks_left = CHECKS
        self._regrouped = False  # ours and the user's own step were seen to differ
        self._traced: tuple[Observer, Row] | None = None  # the newest step that was seen
        self._structure: Structure | None = None
        self._outbox = self._backend.outbox(int(model.steps_per_execution))
        self._draw = self._backend.flag()
        self._drawing = False
        self._installed: tuple[bool, Any] | None = None
        # phi is evaluated on numbers now: inside the traced step that is not possible
        self._activations: dict[int, Activation | None] = {}
        self._readings: dict[int, Reading] = {}
        self._units: dict[int, int] = {}
        self._owners: dict[int, tuple[str, str]] = {}
        self._paths: dict[int, str] = {}
        self._built = False  # whether we tried to build the model
        if _is_built(model):
            self._learn_model()

    def _learn_model(self) -> None:
        if not self._loop:
            _check_trainable(self.model)
        layers = list(self.model._flatten_layers(include_self=True))
        self._paths = unique_paths(layers)
        for layer in layers:
            self._learn(layer, self._paths[id(layer)])

    def _learn(self, layer: Any, path: str) -> None:
        """What must be known of a layer before the step is traced."""
        own = activation_functions.activation_of(layer, path)
        self._activations[id(layer)] = own
        first = getattr(layer, "data_format", None) == "channels_first"
        self._readings[id(layer)] = Reading(
            slope=activation_functions.slope_of_output(own.name, layer) if own else None,
            rectifies=bool(own and own.rectifies),
            unit_axis=1 if first else -1,
        )
        for variable in layer._trainable_variables:
            self._owners[id(variable)] = (path, variable.name)
            if len(variable.shape) >= 2:
                self._units[id(variable)] = units_of(type(layer).__name__, variable.shape)

    def serves(self, model: keras.Model, whole: bool) -> bool:
        """True if the step traced for an earlier fit is still the one ``model`` trains with.

        ``compile`` throws the model's train function away, so a new one means a new step.
        """
        current = model.__dict__.get("train_function")
        same = self.model is model and self._whole == whole
        return same and current is not None and current is self._train_function

    def attach(self, faults: Faults, deliver: Callable[[Sample], None]) -> None:
        """Begins a fit.

        Args:
            faults: where faults of our own go.
            deliver: called after each sampled execution.
        """
        self._faults = faults
        self._deliver = deliver
        self._asked = False
        self._again_wanted = False
        self.disarm()

    # ------------------------------------------------------------------ arming

    def arm(self, histograms: bool) -> None:
        """Makes the next batch of ``fit`` a sampled one."""
        if self.broken:
            return
        self._draw.set(histograms)
        self._drawing = histograms
        attributes = self.model.__dict__
        if self._installed is None:
            self._installed = ("train_function" in attributes, attributes.get("train_function"))
        attributes["train_function"] = self._armed

    def disarm(self) -> None:
        """Gives the model its own train function back; harmless when not armed."""
        if self._installed is None:
            return
        was_there, previous = self._installed
        self._installed = None
        if was_there:
            self.model.__dict__["train_function"] = previous
        else:
            self.model.__dict__.pop("train_function", None)

    def _armed(self, *args: Any) -> Any:
        """Stands in for the model's train function during one batch."""
        previous = self._installed[1] if self._installed else None
        self.disarm()
        if previous is not None and self._loop and not self.model.trainable_variables:
            return previous(*args)  # frozen in this step: there is nothing to see
        if previous is not None and not self._paths and not self._model_is_built(*args):
            # whatever stands in the way: the user's own step builds the model, or says what it is
            return previous(*args)
        try:
            rehearsal = self._prepared(*args)
        except Exception as error:
            if previous is None:
                raise
            # if the model itself is at fault, its own step says so, and better
            result = previous(*args)
            self._give_up(error)
            return result
        if rehearsal is not None and previous is not None:
            return self._rehearsed(rehearsal, previous, *args)
        assert self._instrumented is not None
        try:
            result = self._instrumented(*args)
        except self._backend.end_of_data:
            raise
        except Exception as error:
            if self._has_run or previous is None:
                raise  # the instrumented step works: this is the training's own error
            # The first run failed, perhaps through us. The user's own step decides: if the
            # model itself is at fault it raises the same error, unchanged.
            result = previous(*args)
            self._give_up(error)
            return result
        self._hand_out()
        return result

    def _model_is_built(self, *args: Any) -> bool:
        """Builds the model from the shapes of the coming batch; False if that is not possible.

        Tried once: after a step of its own a model is as built as it will be.
        """
        if self._built or _is_built(self.model):
            return True
        self._built = True
        return self._backend.build_model(self.model, *args)

    def _prepared(self, *args: Any) -> Rehearsal | None:
        """Makes the instrumented step; how to rehearse the coming one, None if it need not be."""
        if not self._paths:
            self._learn_model()
        if self._instrumented is None:
            self._instrumented = self._backend.build(
                self.model, self._watched_step(), self._outbox, self._draw, *args
            )
        if not self._asked:
            self._asked = True
            known = self._rehearsal
            if known is None or not known.serves(self._instrumented, *args):
                self._rehearsal = self._backend.rehearsal(
                    self.model, self._instrumented, *args, wanted=self._again_wanted
                )
                self._checks_left = CHECKS if self._is_needed() else 0
                self._regrouped = self._rehearsal is not None and self._rehearsal.always
        unsure = self._regrouped or (self._drawing and self._is_needed())
        return self._rehearsal if unsure or self._checks_left > 0 else None

    def _is_needed(self) -> bool:
        """True if our step may differ from the user's own."""
        return self._rehearsal is not None and self._rehearsal.needed

    def _rehearsed(self, rehearsal: Rehearsal, own: TrainFunction, *args: Any) -> Any:
        """Runs our step, puts everything back, and runs the user's own on the same batches."""
        assert self._instrumented is not None
        done = rehearsal.both(self._instrumented, own, *args)
        if done is None:
            return own(*args)  # which says in its own way that the data has ended
        if done.failure is not None:
            # the user's own step works: the fault is ours
            self._give_up(done.failure)
            return done.result
        self._checks_left -= 1
        self._regrouped = self._regrouped or not done.equal
        self._hand_out()
        return done.result

    def _give_up(self, error: Exception) -> None:
        self.broken = True
        if isinstance(error, NotReadyError | UnsupportedError):
            self._faults.add("start", f"{error} Training goes on; nothing is measured.")
            return
        text = " ".join(str(error).split())[:300]
        self._faults.add(
            "capture",
            f"this model's training step could not be observed ({type(error).__name__}: "
            f"{text}). Training goes on; nothing is measured in this run.",
        )

    def _hand_out(self) -> None:
        self._has_run = True
        with self._faults.contained("measurement", LOST):
            try:
                self._read()
            except UnsupportedError as error:
                self._give_up(error)

    def _watched_step(self) -> Callable[..., Any]:
        """The model's ``train_step`` with the observer around it."""
        original = self.model.train_step
        shadows = Shadows()

        def train_step(*args: Any, **kwargs: Any) -> Any:
            observer = Observer(self.model, self._backend, self._faults, self._whole)
            with shadows.on(observer, self._backend):
                result = self._backend.observed(observer, original, *args, **kwargs)
            with self._faults.contained("capture", LOST):
                logs = result[0] if isinstance(result, tuple) else result
                observer.learn_own_step(args[-1] if args else None, logs)
            with self._faults.contained("capture", LOST), self._backend.reading():
                row = build_row(observer, self._backend, self._readings, self._units, self._paths)
                if row is not None:
                    self._send(observer, row)
            return result

        return train_step

    # ------------------------------------------------------------------ the same step again

    def want_again(self) -> None:
        """``probe`` is to be had in this fit: to be called before its first batch."""
        self._again_wanted = True

    def probe(self, steps: int = 1, change: Callable[[Any], Any] | None = None) -> list[Sample]:
        """Trains on the newest sampled batches once more, from the weights as they are now.

        All that the steps change is put back, bit for bit. To be called between two batches.

        Args:
            steps: how many, one behind the other.
            change: made to each float array of the batches' x first, NumPy to NumPy.

        Returns:
            one sample a step; empty if it cannot be done: the step was not rehearsed, or counts
            its runs.
        """
        if self.broken or self._rehearsal is None or self._instrumented is None:
            return []
        self._draw.set(False)
        self._drawing = False
        self._backend.settle(self.model)
        changed = same if change is None else partial(_with_changed_inputs, change)
        with closing(self._rehearsal.again(self._instrumented, changed)) as runs:
            samples = [self._sample() for _ in itertools.islice(runs, steps)]
        return [sample for sample in samples if sample is not None]

    def newest_batch(self) -> tuple[Any, Any, Any] | None:
        """(x, y, sample_weight) that was trained on last, NumPy arrays; None if it is not kept."""
        if self._rehearsal is None or self._instrumented is None:
            return None
        batch = self._rehearsal.newest(self._instrumented)
        if batch is None:
            return None
        arrays = keras.tree.map_structure(
            lambda leaf: None if leaf is None else keras.ops.convert_to_numpy(leaf), batch
        )
        unpacked: tuple[Any, Any, Any] = keras.utils.unpack_x_y_sample_weight(arrays)
        return unpacked

    def looking(self) -> AbstractContextManager[None]:
        """Surrounds ``look`` and the probes behind it, where no training is going on.

        torch draws when Keras makes metrics and optimizer, from the generator of the user: that
        stands afterwards where it stood.
        """
        return self._backend.looking()

    def look(self, steps: int, x: Any, y: Any, sample_weight: Any) -> list[Sample]:
        """Trains on one batch for some steps and puts back all that they change, bit for bit.

        The batch is handed over by the model's own ``train_on_batch``, which stops before it
        trains.

        Raises:
            UnsupportedError: if the step cannot be undone.
        """
        model, attributes = self.model, self.model.__dict__
        if not _is_built(model):
            model._symbolic_build(data_batch=(x, y, sample_weight))
        # Keras may begin them anew before it calls the train function
        metrics = [(v, keras.ops.convert_to_numpy(v)) for v in model.metrics_variables]
        names = ("train_function", "_jax_state_synced")
        before = {name: attributes[name] for name in names if name in attributes}
        samples: list[Sample] = []

        def stand_in(*args: Any) -> Any:
            self._again_wanted = True
            self._prepared(*args)
            rehearsal = self._rehearsal
            if rehearsal is None:
                raise UnsupportedError("this model's training step cannot be undone")
            assert self._instrumented is not None
            # the user's own step stands still: nothing is trained
            done = rehearsal.both(self._instrumented, lambda *args: (None, args[0]), *args)
            if done is not None and done.failure is not None:
                raise done.failure
            self._sample()
            samples.extend(self.probe(steps))
            raise _LookedError

        attributes["train_function"] = stand_in
        try:
            model.train_on_batch(x, y, sample_weight)
        except _LookedError:
            return samples
        finally:
            for name in names:
                attributes.pop(name, None)
            attributes.update(before)
            for variable, value in metrics:
                variable.assign(value)
        raise UnsupportedError("this model's train_on_batch does not go through its train function")

    def settle(self) -> None:
        """Between two batches: sees to it that the model's variables have their values."""
        self._backend.settle(self.model)

    # ------------------------------------------------------------------ rows

    def _send(self, observer: Observer, row: Row) -> None:
        """Inside the step: lets the row out to the host."""
        self._traced = (observer, row)
        out = {"sums": row.sums}
        if row.active is not None:
            out["active"] = row.active
        if row.histogram_groups:
            count = len(row.histogram_groups) * HISTOGRAM_WIDTH
            # counted only where they are wanted: a pass over every tensor
            out["histograms"] = keras.ops.cond(
                self._draw.value(),
                row.histograms,
                lambda: keras.ops.zeros((count,), "float32"),
            )
        self._outbox.put(out)

    def _describe(self) -> Structure | None:
        """On the host: what the newest rows mean; None if no step was seen."""
        if self._traced is None:
            return self._structure
        observer, row = self._traced
        self._traced = None
        if self._structure is None or self._structure.layout != row.layout:
            self._structure = Structure(
                layout=row.layout,
                layers=describe_layers(observer, row.layers, self._activations, self._paths),
                variables=variable_specs(row.variables, self._owners),
                histogram_groups=row.histogram_groups,
                unread=tuple(self._paths[id(layer)] for layer in row.unread),
                output=row.output,
            )
        return self._structure

    def _read(self) -> None:
        """On the host: hands out the rows of the execution that just ended."""
        if self._describe() is None:
            self.broken = True
            self._faults.add(
                "capture",
                "nothing is seen of this model's training step: it does not go through "
                "model.train_step, or no Keras optimizer is applied in it. Training goes on; "
                "nothing is measured in this run.",
            )
            return
        sample = self._sample()
        if sample is not None:
            self._deliver(sample)

    def _sample(self) -> Sample | None:
        """The rows of the execution that just ended, None if it gave none."""
        structure = self._describe()
        rows = self._outbox.take()
        if structure is None or not rows:
            return None
        layout, share = structure.layout, self._outbox.share
        groups = len(structure.histogram_groups)
        histograms = None
        if self._drawing and groups:
            # of the first replica: bins that do not agree cannot be added
            histograms = rows[-1]["histograms"].reshape(-1, HISTOGRAM_WIDTH)[:groups]
        sums = [row["sums"].reshape(-1, layout.width) for row in rows]
        nothing = np.zeros((1, 0), dtype=np.bool_)
        active = [
            row["active"].reshape(-1, layout.activity_width) if "active" in row else nothing
            for row in rows
        ]
        return Sample(
            structure,
            np.stack([whole_step(replicas, layout, share) for replicas in sums]),
            np.stack([replicas.any(axis=0) for replicas in active]),
            histograms,
        )


def _with_changed_inputs(change: Callable[[Any], Any], batch: Any) -> Any:
    """The batch with ``change`` made to each float array of its x."""

    def changed(leaf: Any) -> Any:
        array = keras.ops.convert_to_numpy(leaf)
        if array.dtype.kind != "f":
            return leaf
        # where a compiled step is given NumPy's arrays it is traced for them
        made = change(array).astype(array.dtype)
        return made if isinstance(leaf, np.ndarray) else keras.ops.convert_to_tensor(made)

    if not isinstance(batch, tuple):  # x alone
        return keras.tree.map_structure(changed, batch)
    return keras.tree.map_structure(changed, batch[0]), *batch[1:]


class _LookedError(Exception):
    """Ends a ``train_on_batch`` before it trains."""


def writes_logs() -> bool:
    """True in the one process that logs, where several train together."""
    try:
        return backends.current().writes()
    except UnsupportedError:
        return True  # a log that says so


def _is_built(model: keras.Model) -> bool:
    """True if the model and all its layers have their weights."""
    return bool(model.built) and all(
        layer.built for layer in model._flatten_layers(include_self=False)
    )


def _check_compiled(model: keras.Model) -> None:
    if getattr(model, "optimizer", None) is None and not model.compiled:
        raise NotReadyError(
            f"the model {model.name!r} is not compiled, so there is no training step to "
            "watch. Call model.compile(optimizer=..., loss=...) first."
        )


def _check_trainable(model: keras.Model) -> None:
    if not model.trainable_variables:
        raise NothingToTrainError(
            f"the model {model.name!r} has no trainable weights, so there is nothing to "
            "watch. Set layer.trainable = True on what is to be trained."
        )
