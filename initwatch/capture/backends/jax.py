"""Capture on Keras's JAX backend: a train step of pure functions.

What is made inside ``value_and_grad`` cannot be used outside of it. So layers' outputs ride
along with the auxiliary values of the loss, and what is wanted of the backward signal comes out
as one more gradient: each tap takes a dummy argument whose cotangent is the sums of dL/dx.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np
from jax.ad_checkpoint import checkpoint_name
from jax.extend.core import Literal, get_opaque_trace_state
from keras.src.backend.common.masking import get_keras_mask, set_keras_mask
from numpy.typing import NDArray

from initwatch.capture.backends.protocol import (
    Flag,
    Origins,
    Outbox,
    Rehearsed,
    Shadow,
    TrainFunction,
    TrainStep,
    drawn,
)
from initwatch.capture.observer import (
    LOST,
    Applied,
    Observer,
    is_stock,
    optimizers_of,
    watched_layers,
)
from initwatch.capture.reductions import Reduction, delta_sums, matrix
from initwatch.measurement.layout import FIELDS, Source

# Operations that move elements without changing them.
STRUCTURAL = frozenset(
    "broadcast_in_dim concatenate convert_element_type copy copy_p expand_dims gather name "
    "pad reshape sharding_constraint slice dynamic_slice split squeeze stack stop_gradient "
    "transpose".split()
)
# Activations by the names that ``topology`` knows them by.
ACTIVATIONS = {"relu": "Relu", "tanh": "Tanh", "logistic": "Sigmoid", "sigmoid": "Sigmoid"}

# Names that mark places in the traced step.
OUTPUT, INPUT, PREDICTION = "initwatch_output", "initwatch_input", "initwatch_prediction"


class _Outbox:
    """Rows leave the step as outputs of it."""

    share = 1.0

    def __init__(self) -> None:
        self.inside: dict[str, Any] = {}  # of the step that is being traced
        self._arrived: list[Mapping[str, Any]] = []

    def put(self, row: Mapping[str, Any]) -> None:
        self.inside = dict(row)

    def arrive(self, row: Mapping[str, Any]) -> None:
        """On the host: a step has given out a row."""
        if row:
            self._arrived.append(row)

    def take(self) -> list[Mapping[str, NDArray[Any]]]:
        rows, self._arrived = self._arrived, []
        return [{name: np.asarray(value) for name, value in row.items()} for row in rows]


class _Flag:
    """An input of the step."""

    def __init__(self) -> None:
        self.on = False
        self.inside: Any = None  # of the step that is being traced

    def set(self, value: bool) -> None:
        self.on = value

    def value(self) -> Any:
        return self.inside


@dataclass(slots=True)
class _Trace:
    """What the shadows of one trace share.

    Attributes:
        weights: number of the step's own trainable variables; dummies follow them.
        stock: True if it is Keras's own step, whose inside is known.
        dummies: float32[4] each, as they are at the place where layers are called.
        handlers: who is to be told the sums that come out of each dummy.
        taps: number of taps so far, those without a dummy included.
        wanted: number of dummies asked for.
    """

    weights: int
    stock: bool
    dummies: list[Any] = field(default_factory=list)
    handlers: list[Callable[[Any], None]] = field(default_factory=list)
    taps: int = 0
    wanted: int = 0


class _Step:
    """The instrumented train function."""

    def __init__(
        self,
        backend: JaxBackend,
        model: Any,
        train_step: TrainStep,
        outbox: Any,
        flag: Any,
        state: Any,
    ) -> None:
        self._backend = backend
        self._train_step = train_step
        self._outbox = outbox
        self._flag = flag
        self._steps = int(model.steps_per_execution)
        self._stock = is_stock(model)
        self._dummies = len(watched_layers(model)) + 8 if self._stock else 0
        self._missing = 0
        self.jaxpr: Any = None
        self.state_leaves = 0
        self._make(model, state)

    def _make(self, model: Any, state: Any) -> None:
        """Compiles as Keras does, and leaves the model as it was."""
        names = ("train_step", "train_function", "_make_function", "_get_state_sharding_spec")
        before = {name: model.__dict__[name] for name in names if name in model.__dict__}
        try:
            model.__dict__["train_step"] = self._step
            # Keras's loop over steps_per_execution would lose all rows but the last
            model.__dict__["_make_function"] = lambda step, **options: step
            # Keras asks the variables, which have no values between the batches of an epoch
            shardings = jax.tree.map(lambda value: value.sharding, state)
            model.__dict__["_get_state_sharding_spec"] = lambda: shardings
            model.make_train_function(force=True)
            self._compiled = model.__dict__["train_function"]
        finally:
            for name in names:
                model.__dict__.pop(name, None)
            model.__dict__.update(before)

    @property
    def is_compiled(self) -> bool:
        """False where Keras runs the step operation by operation."""
        return hasattr(self._compiled, "trace")

    def _step(self, state: Any, data: Any) -> Any:
        data, self._flag.inside = data
        weights, *others = state
        trace = _Trace(weights=len(weights), stock=self._stock)
        dummies = [jnp.zeros((len(FIELDS[Source.DELTA]),)) for _ in range(self._dummies)]
        self._outbox.inside = {}
        with self._backend.tracing(trace):
            logs, state = self._train_step(([*weights, *dummies], *others), data)
        self._missing = max(0, trace.wanted - self._dummies) if self._stock else 0
        return (logs, self._outbox.inside), state

    def __call__(self, state: Any, iterator: Any) -> Any:
        logs = None
        for step in range(self._steps):
            try:
                data = next(iterator)
            except StopIteration:
                if step == 0:
                    raise
                break
            args = (state, (data, np.bool_(self._flag.on)))
            if self.jaxpr is None and self.is_compiled:
                self._trace(args)
            (logs, row), state = self._compiled(*args)
            self._outbox.arrive(row)
        return logs, state

    def _trace(self, args: Any) -> None:
        """Traces the step ahead of its first run, which then finds it traced."""
        traced = self._compiled.trace(*args)
        if self._missing:  # a layer is called more than once
            self._dummies += self._missing
            self._compiled.clear_cache()
            traced = self._compiled.trace(*args)
        self.jaxpr = traced.jaxpr.jaxpr
        self.state_leaves = len(jax.tree.leaves(args[0]))


class _Rehearsal:
    """See ``protocol.Rehearsal``: functions are pure, so ours runs on a copy of the state."""

    always = False

    def __init__(self, function: TrainFunction, steps: int) -> None:
        self._function = function
        self._steps = steps

    def serves(self, function: TrainFunction, *args: Any) -> bool:
        return function is self._function

    def both(self, ours: TrainFunction, own: TrainFunction, *args: Any) -> Rehearsed | None:
        state, iterator = args
        batches, broken = drawn(iterator, self._steps)
        if not batches:
            return None
        failure: Exception | None = None
        other: Any = None
        try:
            # a copy, because a compiled step consumes the buffers it is given
            _, other = ours(jax.tree.map(jnp.copy, state), iter(batches))
        except Exception as error:
            failure = error  # told to the caller, once the user's own step has run
        result = own(state, iter(batches))
        if broken is not None:
            raise broken
        equal = failure is None and all(
            np.asarray(a).tobytes() == np.asarray(b).tobytes()
            for a, b in zip(jax.tree.leaves(other), jax.tree.leaves(result[1]), strict=True)
        )
        return Rehearsed(result, equal, failure)


class JaxBackend:
    """See ``protocol.Backend``."""

    end_of_data: tuple[type[BaseException], ...] = (StopIteration,)

    def __init__(self) -> None:
        self._once: dict[Reduction, Reduction] = {}
        self._trace: _Trace | None = None

    def refusal(self, model: Any) -> str | None:
        if keras.config.is_nnx_enabled():
            return "training through Flax NNX is not observed: its train step is another one"
        return None

    def writes(self) -> bool:
        return bool(jax.process_index() == 0)

    def build(
        self, model: Any, train_step: TrainStep, outbox: Outbox, flag: Flag, *args: Any
    ) -> _Step:
        return _Step(self, model, train_step, outbox, flag, args[0])

    def build_model(self, model: Any, *args: Any) -> bool:
        return False  # Keras builds it before training begins, if that can be done at all

    def rehearsal(self, model: Any, function: Any, *args: Any) -> _Rehearsal | None:
        return (
            _Rehearsal(function, int(model.steps_per_execution)) if function.is_compiled else None
        )

    @contextmanager
    def tracing(self, trace: _Trace) -> Iterator[None]:
        """While it lasts, taps and shadows belong to ``trace``."""
        self._trace = trace
        try:
            yield
        finally:
            self._trace = None

    def reading(self) -> AbstractContextManager[None]:
        return nullcontext()

    def double(self) -> AbstractContextManager[None]:
        context: AbstractContextManager[None] = jax.enable_x64(True)
        return context

    def place(self) -> Any:
        return get_opaque_trace_state(convention="flax")

    def shadows(self, observer: Observer) -> list[Shadow]:
        model, trace = observer.model, self._trace
        assert trace is not None
        found: list[Shadow] = [
            (optimizer, "stateless_apply", partial(_watched_apply, optimizer, trace))
            for optimizer in optimizers_of(model)
        ]
        if trace.stock:
            found += [
                (model, "compute_loss_and_updates", partial(_watched_compute, trace)),
                (model, "_update_metrics_variables", _watched_metrics),
            ]
        return found

    def tap(self, x: Any, on_gradient: Callable[[Any], None] | None, inputs: list[Any]) -> Any:
        trace = self._trace
        assert trace is not None
        for given in inputs:
            # read by nobody: it tells where in the step the layer's input came from
            checkpoint_name(given, f"{INPUT}_{trace.taps}")
        name = f"{OUTPUT}_{trace.taps}"
        trace.taps += 1
        if on_gradient is None:
            return self._carried(x, checkpoint_name(x, name))
        trace.wanted += 1
        if len(trace.handlers) == len(trace.dummies):
            return self._carried(x, checkpoint_name(x, name))
        dummy = trace.dummies[len(trace.handlers)]
        trace.handlers.append(on_gradient)
        return self._carried(x, self._tap(name)(x, dummy))

    @staticmethod
    def _carried(x: Any, tapped: Any) -> Any:
        """``tapped`` with what Keras hangs on a tensor for later layers: its mask."""
        mask = get_keras_mask(x)
        if mask is not None:
            set_keras_mask(tapped, mask)
        return tapped

    def _tap(self, name: str) -> Callable[[Any, Any], Any]:
        """The identity of x; the dummy's cotangent is ``delta_sums`` of that of x."""

        @jax.custom_vjp  # type: ignore[untyped-decorator]
        def tap(x: Any, dummy: Any) -> Any:
            return checkpoint_name(x, name)

        def forward(x: Any, dummy: Any) -> tuple[Any, None]:
            return checkpoint_name(x, name), None

        def backward(_: None, gradient: Any) -> tuple[Any, Any]:
            return gradient, self.once(delta_sums)(matrix(gradient))

        tap.defvjp(forward, backward)
        found: Callable[[Any, Any], Any] = tap
        return found

    def delta_sums(self, handed: Any) -> Any:
        return handed

    def is_tensor(self, x: Any) -> bool:
        return isinstance(x, jax.Array)

    def read(self, variable: Any) -> Any:
        return getattr(variable, "value", variable)

    def of_all_replicas(self, gradients: list[Any]) -> list[Any]:
        return gradients  # one program for all devices

    def of_all_examples(self, x: Any) -> Any:
        return x

    def dense(self, gradient: Any) -> Any:
        return gradient

    def marks(self, x: Any) -> list[Any]:
        return [x]

    def origins(self, x: Any, known: dict[int, int]) -> Origins:
        if id(x) in known:
            return Origins({known[id(x)]}, False, set())
        return Origins(set(), True, {"unknown"})  # ``settle`` tells, where the step is traced

    def settle(self, function: Any, observer: Observer) -> None:
        if function.jaxpr is None:
            return
        flow = _Flow(function.jaxpr, function.state_leaves)
        for i, call in enumerate(observer.calls):
            call.origins = flow.origins(f"{OUTPUT}_{i}")
            call.between = frozenset(flow.origins(f"{INPUT}_{i}").operations)
        if observer.prediction_origins is not None:
            observer.prediction_origins = flow.origins(PREDICTION)

    def may_be_fused(self, x: Any) -> bool:
        return False

    def apart(self, x: Any) -> Any:
        return x

    def once(self, reduction: Reduction) -> Reduction:
        if reduction not in self._once:
            self._once[reduction] = jax.jit(reduction)
        return self._once[reduction]

    def outbox(self, rows: int) -> _Outbox:
        return _Outbox()

    def flag(self) -> _Flag:
        return _Flag()


def _watched_apply(
    optimizer: Any, trace: _Trace, observer: Observer, original: Callable[..., Any]
) -> Callable[..., Any]:
    """Stands in for ``optimizer.stateless_apply``: takes the dummies off, notes the update."""

    def stateless_apply(optimizer_variables: Any, grads: Any, trainable_variables: Any) -> Any:
        grads, before = list(grads), list(trainable_variables)
        sums: list[Any] = []
        if trace.stock:
            grads, sums = grads[: trace.weights], grads[trace.weights :]
            before = before[: trace.weights]
        after, slots = original(optimizer_variables, grads, before)
        with observer.faults.contained("capture", LOST):
            for handler, value in zip(trace.handlers, sums, strict=False):
                handler(value)
            slots_before = zip(optimizer.variables, list(optimizer_variables), strict=True)
            with keras.StatelessScope(state_mapping=slots_before):
                # not always a variable: with accumulated gradients it is worked out
                iterations = keras.ops.convert_to_tensor(optimizer.iterations)
                scale = getattr(optimizer, "dynamic_scale", None)
                scale = None if scale is None else keras.ops.convert_to_tensor(scale)
            inner = getattr(optimizer, "inner_optimizer", optimizer)
            observer.applied.append(
                Applied(
                    optimizer=optimizer,
                    variables=list(inner._trainable_variables),
                    gradients=grads,
                    before=before,
                    after=list(after),
                    iterations=iterations,
                    loss_scale=scale,
                )
            )
        return after, slots

    return stateless_apply


def _watched_compute(
    trace: _Trace, observer: Observer, original: Callable[..., Any]
) -> Callable[..., Any]:
    """Stands in for ``model.compute_loss_and_updates``, which runs inside the gradient."""

    def compute_loss_and_updates(
        weights: Any, others: Any, metrics: Any, *args: Any, **kw: Any
    ) -> Any:
        weights = list(weights)
        weights, trace.dummies = weights[: trace.weights], weights[trace.weights :]
        observer.enter()
        loss, (unscaled, y_pred, others, metrics) = original(weights, others, metrics, *args, **kw)
        for x in jax.tree.leaves(y_pred):
            checkpoint_name(x, PREDICTION)
        # what is made in here gets out by way of the auxiliary values
        outputs = [call.output for call in observer.calls]
        return loss, (unscaled, y_pred, others, (metrics, outputs))

    return compute_loss_and_updates


def _watched_metrics(observer: Observer, original: Callable[..., Any]) -> Callable[..., Any]:
    """Stands in for ``model._update_metrics_variables``, which is back outside."""

    def update(metrics: Any, loss: Any, x: Any, y: Any, y_pred: Any, sample_weight: Any) -> Any:
        metrics, outputs = metrics
        for call, output in zip(observer.calls, outputs, strict=True):
            call.output = output
        observer.loss = loss
        observer.labels = (y, y_pred, sample_weight)
        observer.enter()
        return original(metrics, loss, x, y, y_pred, sample_weight)

    return update


class _Flow:
    """Where the values at the marked places of a traced step came from."""

    def __init__(self, jaxpr: Any, state_leaves: int) -> None:
        self._made: dict[Any, Any] = {}  # variable -> the equation that made it
        self._marks: dict[str, list[Any]] = {}  # name -> equations
        for equation in jaxpr.eqns:
            for variable in equation.outvars:
                self._made[variable] = equation
            if equation.primitive.name == "name":
                self._marks.setdefault(equation.params["name"], []).append(equation)
        self._data = set(jaxpr.invars[state_leaves:])

    def origins(self, mark: str) -> Origins:
        """The nearest marked outputs behind a mark, and the operations on the way."""
        found = Origins(set(), False, set())
        seen: set[Any] = set()
        waiting = [v for equation in self._marks.get(mark, ()) for v in equation.invars]
        while waiting:
            variable = waiting.pop()
            if isinstance(variable, Literal) or variable in seen:
                continue
            seen.add(variable)
            equation = self._made.get(variable)
            if equation is None:
                found.from_input |= variable in self._data
                continue
            name = equation.primitive.name
            called = str(equation.params.get("name", ""))
            if name == "name" and called.startswith(OUTPUT):
                found.known.add(int(called.removeprefix(f"{OUTPUT}_")))
                continue
            if name not in STRUCTURAL:
                # functions that JAX calls by name, such as relu
                found.operations.add(ACTIVATIONS.get(called or name, called or name))
            waiting.extend(equation.invars)
        return found


BACKEND = JaxBackend()
