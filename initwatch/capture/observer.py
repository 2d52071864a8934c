"""What one run through ``train_step`` shows: layer outputs, backward signals, the optimizer.

An ``Observer`` lives for one call of ``train_step`` (one trace, or one eager step). While
``Shadows`` are on for it, the layers' ``call``, the optimizers' ``apply`` and the model's
``compute_loss`` are shadowed by instance attributes; they are taken off again before
``train_step`` returns, so nothing of it is ever on a model that a user can see.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from initwatch.capture.backends.protocol import Backend, Origins
from initwatch.capture.targets import Target, of_own_step, targets_of
from initwatch.errors import Faults

LOST = "the statistics of this run are incomplete."


@dataclass(slots=True)
class Call:
    """One call of one layer.

    Attributes:
        layer: the layer.
        output: its first float output, behind the tap.
        origins: the calls its output was computed from.
        between: plain operations that stand between those calls and this one.
        gradients: dL/d(output), one for each backward pass.
    """

    layer: Any
    output: Any
    origins: Origins
    between: frozenset[str]
    gradients: list[Any] = field(default_factory=list)


@dataclass(slots=True)
class Applied:
    """One update of an optimizer: variables, their gradients, their values around it.

    Attributes:
        iterations: the optimizer's count before the update.
        loss_scale: the factor on the loss that the gradients still carry, None without one.
    """

    optimizer: Any
    variables: list[Any]
    gradients: list[Any]
    before: list[Any]
    after: list[Any]
    iterations: Any
    loss_scale: Any

    def tensors(self) -> tuple[Any, ...]:
        """All that is of the step, to be carried out of a trace."""
        return self.gradients, self.before, self.after, self.iterations, self.loss_scale

    def put(self, tensors: tuple[Any, ...]) -> None:
        """Takes ``tensors`` back from where they were carried."""
        self.gradients, self.before, self.after, self.iterations, self.loss_scale = tensors


class Observer:
    """Collects the tensors of one ``train_step``.

    Args:
        model: the model in training.
        backend: how its tensors are tapped.
        faults: where faults of our own go; the step itself is never disturbed by them.
        whole: a batch is all the data there is.
    """

    def __init__(
        self, model: keras.Model, backend: Backend, faults: Faults, whole: bool = False
    ) -> None:
        self.model = model
        self.whole = whole
        self.calls: list[Call] = []
        self.applied: list[Applied] = []
        self.loss: Any = None
        self.targets: list[Target] = []
        self.predicted: list[Any] = []  # what each call of the model itself returned
        self.reported: list[Any] = []  # losses that the user's own step hands to its metrics
        self.scales_loss = False  # ``optimizer.scale_loss`` has been called
        self.inputs: list[Any] = []  # tensors of the batch's x
        self.penalties: list[Any] = []  # scalars that regularizers and add_loss put in the loss
        self.prediction_origins: Origins | None = None
        self.faults = faults
        self._backend = backend
        self._place = backend.place()
        self._differentiated = False  # a layer with trainable weights has been called
        self._known: dict[int, int] = {}
        # ids are only good while their tensors live
        self._alive: list[Any] = []

    def is_here(self) -> bool:
        """True where tensors can be carried out of: not inside a loop or a branch."""
        return bool(self._backend.place() == self._place)

    def watched_call(self, layer: Any, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            outputs = original(*args, **kwargs)
            # inside the loop of an RNN or a branch, tensors cannot be carried out
            if not self.is_here():
                return outputs
            with self.faults.contained("capture", LOST):
                return self._tapped(layer, (args, kwargs), outputs)
            return outputs

        return call

    def _tapped(self, layer: Any, inputs: Any, outputs: Any) -> Any:
        """The layer's outputs, the first float tensor among them behind a tap."""
        flat = keras.tree.flatten(outputs)
        position = next(
            (
                i
                for i, x in enumerate(flat)
                if self._backend.is_tensor(x) and keras.backend.is_float_dtype(x.dtype)
            ),
            None,
        )
        if position is None:
            return outputs
        output = flat[position]
        # a container's output is its last layer's, a pass-through's is its input: no new signal
        if id(output) in self._known or any(x is output for x in keras.tree.flatten(inputs)):
            return outputs
        origins = self._backend.origins(output, self._known)
        if "unknown" in origins.operations:
            origins = self._origins_by_identity(inputs)
        given = self._origins_of_all(inputs)
        origins.from_input |= given.from_input
        call = Call(layer, output, origins, frozenset(given.operations))
        # what a frozen part puts out has no gradient unless a weight before it has one
        self._differentiated |= bool(layer.trainable_variables)
        tapped = self._backend.tap(
            output,
            call.gradients.append if self._differentiated else None,
            [x for x in keras.tree.flatten(inputs) if self._backend.is_tensor(x)],
        )
        call.output = tapped
        marks = self._backend.marks(tapped)
        self._known |= {id(mark): len(self.calls) for mark in marks}
        self._alive += [output, tapped, *marks]
        self.calls.append(call)
        if len(flat) == 1 and not keras.tree.is_nested(outputs):
            return tapped
        flat[position] = tapped
        return keras.tree.pack_sequence_as(outputs, flat)

    def _origins_by_identity(self, inputs: Any) -> Origins:
        """Where a tensor does not remember its past: by the layer's own arguments."""
        known: set[int] = set()
        from_input = False
        operations: set[str] = set()
        for x in keras.tree.flatten(inputs):
            if id(x) in self._known:
                known.add(self._known[id(x)])
            elif self._backend.is_tensor(x) and keras.backend.is_float_dtype(x.dtype):
                from_input = True
                operations.add("unknown")
            elif self._backend.is_tensor(x):
                from_input = True
        return Origins(known, from_input, operations)

    def watched_apply(self, optimizer: Any, original: Callable[..., Any]) -> Callable[..., Any]:
        """What stands in for ``optimizer.apply`` where that changes variables in place."""

        def apply(grads: Any, trainable_variables: Any = None) -> Any:
            grads = list(grads)
            record: Applied | None = None
            if self.is_here():
                with self.faults.contained("capture", LOST), self._backend.reading():
                    record = self._before_apply(optimizer, grads, trainable_variables)
            result = original(grads, trainable_variables)
            if record is not None:
                with self.faults.contained("capture", LOST), self._backend.reading():
                    record.after = [self._backend.read(variable) for variable in record.variables]
                    self.applied.append(record)
            return result

        return apply

    def _before_apply(self, optimizer: Any, grads: list[Any], variables: Any) -> Applied:
        if variables is None:
            variables = optimizer._trainable_variables
        variables = list(variables)
        scale = getattr(optimizer, "dynamic_scale", None)
        return Applied(
            optimizer=optimizer,
            variables=variables,
            gradients=grads,
            before=[self._backend.read(variable) for variable in variables],
            after=[],
            iterations=self._backend.read(optimizer.iterations),
            loss_scale=None if scale is None else self._backend.read(scale),
        )

    def watched_loss(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """What stands in for the model's ``compute_loss``."""

        def compute_loss(*args: Any, **kwargs: Any) -> Any:
            loss = original(*args, **kwargs)
            if self.is_here():
                with self.faults.contained("capture", LOST):
                    names = ("x", "y", "y_pred", "sample_weight")
                    given = {**dict(zip(names, args, strict=False)), **kwargs}
                    self.loss = loss
                    told = (given.get("y"), given.get("y_pred"), given.get("sample_weight"))
                    self.targets = targets_of(self.model, *told)
                    batch = keras.tree.flatten(given.get("x"))
                    # a loop may hand over NumPy's arrays as they are
                    self.inputs = [x for x in batch if self._is_array(x)]
                    self.prediction_origins = self._origins_of_all(given.get("y_pred"))
            return loss

        return compute_loss

    def _is_array(self, x: Any) -> bool:
        # a loop may hand over NumPy's arrays as they are
        return self._backend.is_tensor(x) or type(x) is np.ndarray

    def watched_model(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """What stands in for the model's own ``call`` in a ``train_step`` of the user's."""

        def call(*args: Any, **kwargs: Any) -> Any:
            predicted = original(*args, **kwargs)
            if self.is_here():
                with self.faults.contained("capture", LOST):
                    self.predicted.append(predicted)
            return predicted

        return call

    def watched_metric(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """What stands in for ``update_state`` of a metric that keeps the mean of a loss."""

        def update_state(values: Any, *args: Any, **kwargs: Any) -> Any:
            if self.is_here() and self._backend.is_tensor(values) and len(values.shape) == 0:
                self.reported.append(values)
            return original(values, *args, **kwargs)

        return update_state

    def watched_scaling(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """What stands in for ``scale_loss`` of an optimizer that divides its gradients again."""

        def scale_loss(loss: Any) -> Any:
            self.scales_loss = True
            return original(loss)

        return scale_loss

    def learn_own_step(self, data: Any, logs: Any) -> None:
        """Fills in what a ``train_step`` without ``compute_loss`` showed.

        Args:
            data: the batch that it was given.
            logs: what it returned.
        """
        if self.loss is not None or self.targets:
            return
        self.targets = of_own_step(data, self.predicted, self._backend.is_tensor)
        if self.targets:
            self.prediction_origins = self._origins_of_all([t.prediction for t in self.targets])
        if not self.inputs:
            x = data[0] if isinstance(data, (tuple, list)) and data else data
            self.inputs = [leaf for leaf in keras.tree.flatten(x) if self._is_array(leaf)]
        if len(self.reported) == 1:
            self.loss = self.reported[0]
        elif not self.reported and isinstance(logs, dict):
            told: Any = logs.get("loss")
            if self._backend.is_tensor(told) and len(told.shape) == 0:
                self.loss = told

    def watched_penalty(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """What stands in for ``_aggregate_additional_loss``: a regularizer's share of the loss."""

        def aggregate(loss: Any) -> Any:
            penalty = original(loss)
            if self.is_here():
                self.penalties.append(penalty)
            return penalty

        return aggregate

    def _origins_of_all(self, tensors: Any) -> Origins:
        merged = Origins(set(), False, set())
        for x in keras.tree.flatten(tensors):
            if self._backend.is_tensor(x):
                origins = self._backend.origins(x, self._known)
                merged.known |= origins.known
                merged.from_input |= origins.from_input
                merged.operations |= origins.operations
        return merged


class Shadows:
    """Stand-ins for methods of one model while its step is observed.

    The replicas of a strategy run the step in threads that take turns: stand-ins go on with the
    first of them and off with the last, and what a thread calls is shown to its own observer.
    """

    def __init__(self) -> None:
        self._now = threading.local()
        self._lock = threading.Lock()
        self._wearers = 0
        self._undo: list[tuple[Any, str, bool, Any]] = []

    @contextmanager
    def on(self, observer: Observer, backend: Backend) -> Iterator[None]:
        """Shadows what is to be watched, and undoes it whatever happens inside."""
        with self._lock:
            self._wearers += 1
        try:
            with self._lock:
                if not self._undo:
                    self._put_on(observer, backend)
            self._now.observer = observer
            yield
        finally:
            self._now.observer = None
            with self._lock:
                self._wearers -= 1
                if self._wearers == 0:
                    self._take_off()

    def _put_on(self, observer: Observer, backend: Backend) -> None:
        model = observer.model
        for layer in watched_layers(model):
            self._shadow(layer, "call", watched_call(layer))
        self._shadow(model, "compute_loss", Observer.watched_loss)
        if not is_stock(model):
            self._shadow(model, "call", Observer.watched_model)
            for metric in _loss_metrics(model):
                self._shadow(metric, "update_state", Observer.watched_metric)
        for optimizer in optimizers_of(model):
            if hasattr(optimizer, "dynamic_scale"):
                self._shadow(optimizer, "scale_loss", Observer.watched_scaling)
        if hasattr(model, "_aggregate_additional_loss"):
            self._shadow(model, "_aggregate_additional_loss", Observer.watched_penalty)
        for owner, name, make in backend.shadows(observer):
            self._shadow(owner, name, make)

    def _shadow(self, owner: Any, name: str, make: Callable[..., Any]) -> None:
        original = getattr(owner, name)

        def stand_in(*args: Any, **kwargs: Any) -> Any:
            observer = getattr(self._now, "observer", None)
            method = original if observer is None else make(observer, original)
            return method(*args, **kwargs)

        # through __dict__, past Keras's attribute tracking
        self._undo.append((owner, name, name in owner.__dict__, owner.__dict__.get(name)))
        owner.__dict__[name] = stand_in

    def _take_off(self) -> None:
        for owner, name, was_there, previous in reversed(self._undo):
            if was_there:
                owner.__dict__[name] = previous
            else:
                owner.__dict__.pop(name, None)
        self._undo.clear()


def watched_call(layer: Any) -> Callable[..., Any]:
    """Makes the stand-in for ``layer.call`` of an observer and the original."""
    return lambda observer, original: observer.watched_call(layer, original)


def watched_apply(optimizer: Any) -> Callable[..., Any]:
    """Makes the stand-in for ``optimizer.apply`` of an observer and the original."""
    return lambda observer, original: observer.watched_apply(optimizer, original)


def watched_layers(model: keras.Model) -> list[Any]:
    """Layers whose outputs are signals of the step: not inputs, not the cells of RNNs."""
    layers = list(model._flatten_layers(include_self=False))
    inner: set[int] = set()
    for layer in layers:
        if isinstance(layer, (keras.layers.RNN, keras.layers.TimeDistributed)):
            inner |= {id(x) for x in layer._flatten_layers(include_self=False)}
    return [
        layer
        for layer in layers
        if id(layer) not in inner and not isinstance(layer, keras.layers.InputLayer)
    ]


def _loss_metrics(model: keras.Model) -> list[Any]:
    """Metrics of the user's own that keep the mean of the whole loss."""
    own = [m for m in model.metrics if type(m) is keras.metrics.Mean and m.name.endswith("loss")]
    whole = [m for m in own if m.name in ("loss", "total_loss")]
    return whole or (own if len(own) == 1 else [])


def is_stock(model: keras.Model) -> bool:
    """True if it trains by Keras's own step; asked of the instance, which may carry one too."""
    return getattr(model.train_step, "__func__", None) is keras.Model.train_step


def optimizers_of(model: keras.Model) -> list[Any]:
    """The compiled optimizer and others that the model holds, in lists and dicts too, each once."""
    found = [model.optimizer] if getattr(model, "optimizer", None) is not None else []
    for value in vars(model).values():
        held = value.values() if isinstance(value, dict) else value
        for each in held if isinstance(value, (list, tuple, dict)) else [held]:
            if isinstance(each, keras.optimizers.Optimizer) and all(each is not o for o in found):
                found.append(each)
    return found
