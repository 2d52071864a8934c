"""Capture on Keras's JAX backend: a train step of pure functions.

What is made inside ``value_and_grad`` cannot be used outside of it. So layers mark their outputs,
and what comes back to them in the backward pass, by name; the step is traced, and evaluated with
what was marked as further results.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np
from jax.ad_checkpoint import checkpoint_name
from jax.extend.core import ClosedJaxpr, Literal, jaxpr_as_fun
from keras.src.backend.common.masking import get_keras_mask, set_keras_mask
from numpy.typing import NDArray

from initwatch.capture.backends.protocol import (
    Change,
    Flag,
    Origins,
    Outbox,
    Rehearsed,
    Shadow,
    TrainFunction,
    TrainStep,
    drawn,
    same,
)
from initwatch.capture.observer import LOST, Applied, Observer, is_stock, optimizers_of
from initwatch.capture.reductions import Reduction, Sums, alike

# Operations that move elements without changing them.
STRUCTURAL = frozenset(
    "broadcast_in_dim concatenate convert_element_type copy copy_p expand_dims gather name "
    "pad reshape sharding_constraint slice dynamic_slice split squeeze stack stop_gradient "
    "transpose".split()
)
# Activations by the names that ``topology`` knows them by.
ACTIVATIONS = {"relu": "Relu", "tanh": "Tanh", "logistic": "Sigmoid", "sigmoid": "Sigmoid"}

# Elements of a matrix up to which it is stacked with its like: 16 MB in float32.
STACKED = 2**22

# Names that mark places in the traced step; those of layers' calls are numbered.
OUTPUT, INPUT, DELTA = "initwatch_output", "initwatch_input", "initwatch_delta"
LOSS, LABELS, PREDICTION = "initwatch_loss", "initwatch_labels", "initwatch_prediction"
PENALTY = "initwatch_penalty"
DATA = "initwatch_data"
WEIGHT, MASK = "initwatch_weight", "initwatch_mask"
CALLED = "initwatch_called"
TOLD = (LABELS, PREDICTION, WEIGHT, MASK)  # the parts of a target, in its order


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


class _Step:
    """The instrumented train function."""

    def __init__(
        self,
        model: Any,
        train_step: TrainStep,
        outbox: Any,
        flag: Any,
        state: Any,
    ) -> None:
        self._train_step = train_step
        self._outbox = outbox
        self._flag = flag
        self._steps = int(model.steps_per_execution)
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
            function = model.__dict__["train_function"]
        finally:
            for name in names:
                model.__dict__.pop(name, None)
            model.__dict__.update(before)
        # operation by operation, what is traced anew each time would be compiled anew
        eager = not hasattr(function, "trace")
        self._run = jax.jit(self._step) if eager and is_stock(model) else function

    def _step(self, state: Any, data: Any) -> Any:
        data, self._flag.inside = data
        self._outbox.inside = {}
        logs, state = self._train_step(state, data)
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
            (logs, row), state = self._run(state, (data, np.bool_(self._flag.on)))
            self._outbox.arrive(row)
        return logs, state


class _Rehearsal:
    """See ``protocol.Rehearsal``: functions are pure, so ours runs on a copy of the state."""

    always = False
    needed = True

    def __init__(self, model: Any, function: TrainFunction, steps: int) -> None:
        self._model = model
        self._function = function
        self._steps = steps
        self._batches: list[Any] = []

    def serves(self, function: TrainFunction, *args: Any) -> bool:
        return function is self._function

    def both(self, ours: TrainFunction, own: TrainFunction, *args: Any) -> Rehearsed | None:
        state, iterator = args
        batches, broken = drawn(iterator, self._steps)
        self._batches = batches
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

    def again(self, ours: TrainFunction, change: Change = same) -> Generator[None, None, None]:
        if not self._batches:
            return
        batches = [change(batch) for batch in self._batches]
        kinds = ("trainable", "non_trainable", "optimizer", "metrics")
        asked = {f"{kind}_variables": True for kind in kinds}
        # a copy, because a compiled step consumes the buffers it is given
        state = jax.tree.map(jnp.copy, tuple(self._model._get_jax_state(**asked)))
        while True:
            _, state = ours(state, iter(batches))
            yield

    def newest(self, ours: TrainFunction) -> Any:
        return self._batches[-1] if self._batches else None


class JaxBackend:
    """See ``protocol.Backend``."""

    end_of_data: tuple[type[BaseException], ...] = (StopIteration,)

    def __init__(self) -> None:
        self._taps = itertools.count()  # of the step that is being traced
        self._jitted: dict[Reduction, tuple[Reduction, Reduction]] = {}

    def refusal(self, model: Any) -> str | None:
        if keras.config.is_nnx_enabled():
            return "training through Flax NNX is not observed: its train step is another one"
        return None

    def writes(self) -> bool:
        return bool(jax.process_index() == 0)

    def seeded(self, seed: int) -> AbstractContextManager[None]:
        return nullcontext()  # JAX has no global generator

    def looking(self) -> AbstractContextManager[None]:
        return nullcontext()

    def build(
        self, model: Any, train_step: TrainStep, outbox: Outbox, flag: Flag, *args: Any
    ) -> _Step:
        return _Step(model, train_step, outbox, flag, args[0])

    def build_model(self, model: Any, *args: Any) -> bool:
        return False  # Keras builds it before training begins, if that can be done at all

    def settle(self, model: Any) -> None:
        model.jax_state_sync()

    def rehearsal(
        self, model: Any, function: Any, *args: Any, wanted: bool = False
    ) -> _Rehearsal | None:
        if not model.jit_compile and not is_stock(model):
            return None  # a step of the user's in plain Python may count its runs
        return _Rehearsal(model, function, int(model.steps_per_execution))

    def observed(self, observer: Observer, step: TrainStep, *args: Any, **kwargs: Any) -> Any:
        self._taps = itertools.count()
        compiled = any(isinstance(x, jax.core.Tracer) for x in jax.tree.leaves(args))
        if not compiled and not is_stock(observer.model):
            # its Python is to run as it is; what is inside its gradient is not to be had then
            result = step(*args, **kwargs)
            observer.calls.clear()
            observer.loss = observer.prediction_origins = None
            observer.targets, observer.predicted, observer.reported = [], [], []
            observer.inputs, observer.penalties = [], []
            return result

        def traced(*args: Any) -> Any:
            result = step(*args, **kwargs)
            return result, [applied.tensors() for applied in observer.applied], observer.reported

        closed, shapes = jax.make_jaxpr(traced, return_shape=True)(*args)
        jaxpr = closed.jaxpr
        flow = _Flow(jaxpr, len(jax.tree.leaves(args[0])))
        marked = flow.values()
        whole = jaxpr.replace(outvars=[*jaxpr.outvars, *marked.values()])
        values = jaxpr_as_fun(ClosedJaxpr(whole, closed.consts))(*jax.tree.leaves(args))
        inside = len(jaxpr.outvars)
        structure = jax.tree.structure(shapes)
        result, applied, observer.reported = jax.tree.unflatten(structure, values[:inside])
        for record, tensors in zip(observer.applied, applied, strict=True):
            record.put(tensors)
        _bring_out(observer, flow, dict(zip(marked, values[inside:], strict=True)))
        return result

    def reading(self) -> AbstractContextManager[None]:
        return nullcontext()

    def double(self) -> AbstractContextManager[None]:
        context: AbstractContextManager[None] = jax.enable_x64(True)
        return context

    def place(self) -> Any:
        return None  # what is called in a loop or branch marks nothing outside of it

    def shadows(self, observer: Observer) -> list[Shadow]:
        model = observer.model
        found: list[Shadow] = [(model, "compute_loss", _marked_loss)]
        if not is_stock(model):
            found.append((model, "call", _marked_call))
        for optimizer in optimizers_of(model):
            found.append((optimizer, "stateless_apply", partial(_watched_apply, optimizer)))
        return found

    def tap(self, x: Any, on_gradient: Callable[[Any], None] | None, inputs: list[Any]) -> Any:
        number = next(self._taps)
        for given in inputs:
            # read by nobody: it tells where in the step the layer's input came from
            checkpoint_name(given, f"{INPUT}_{number}")
        if on_gradient is None:
            return self._carried(x, checkpoint_name(x, f"{OUTPUT}_{number}"))
        return self._carried(x, _tap(number)(x))

    @staticmethod
    def _carried(x: Any, tapped: Any) -> Any:
        """``tapped`` with what Keras hangs on a tensor for later layers: its mask."""
        mask = get_keras_mask(x)
        if mask is not None:
            set_keras_mask(tapped, mask)
        return tapped

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
        return Origins(set(), True, {"unknown"})  # told when the step is traced

    def may_be_fused(self, x: Any) -> bool:
        return False

    def apart(self, x: Any) -> Any:
        return x

    def logits_of(self, prediction: Any) -> Any:
        return None

    def sum_of_squares(self, x: Any) -> Any:
        return jnp.sum(jnp.square(x))

    def count_nonzero(self, x: Any) -> Any:
        return jnp.sum(x != 0.0, dtype="float32")

    def order(self, arguments: list[tuple[Any, ...]]) -> list[int]:
        return [i for group in alike(arguments, STACKED) for i in group]

    def each(self, reduction: Reduction, arguments: list[tuple[Any, ...]]) -> tuple[list[int], Any]:
        if reduction not in self._jitted:
            many = _of_many(reduction) if isinstance(reduction, Sums) else jax.vmap(reduction)
            self._jitted[reduction] = jax.jit(reduction), jax.jit(many)
        of_one, of_many = self._jitted[reduction]
        results = []
        for group in alike(arguments, STACKED):
            calls = [arguments[i] for i in group]
            if len(group) == 1:
                results.append(of_one(*calls[0]))
                continue
            # compiled once for all of them: XLA takes its time for every reduction it is shown
            stacked = [jnp.stack(matrices) for matrices in zip(*calls, strict=True)]
            results.append(of_many(*stacked).reshape(-1))
        return self.order(arguments), jnp.concatenate(results)

    def outbox(self, rows: int) -> _Outbox:
        return _Outbox()

    def flag(self) -> _Flag:
        return _Flag()


def _of_many(sums: Sums) -> Callable[..., Any]:
    """Sums of each of the stacked matrices; a branch under ``vmap`` would run either way."""

    def of_many(*stacked: Any) -> Any:
        quick, trusted = jax.vmap(sums.tried)(*stacked)
        careful = jax.vmap(sums.retaken)
        return jax.lax.cond(jnp.all(trusted), lambda: quick, lambda: careful(*stacked))

    return of_many


def _tap(number: int) -> Callable[[Any], Any]:
    """The identity of a layer's output, which marks it and its gradient."""

    @jax.custom_vjp  # type: ignore[untyped-decorator]
    def tap(x: Any) -> Any:
        return checkpoint_name(x, f"{OUTPUT}_{number}")

    def forward(x: Any) -> tuple[Any, None]:
        return checkpoint_name(x, f"{OUTPUT}_{number}"), None

    def backward(_: None, gradient: Any) -> tuple[Any]:
        return (checkpoint_name(gradient, f"{DELTA}_{number}"),)

    tap.defvjp(forward, backward)
    found: Callable[[Any], Any] = tap
    return found


def _bring_out(observer: Observer, flow: _Flow, values: dict[str, Any]) -> None:
    """Puts what was marked into the observer, which holds tensors of the trace."""
    # what a loop or a branch inside the step shows stays in there
    seen = [i for i in range(len(observer.calls)) if f"{OUTPUT}_{i}" in values]
    place = {number: i for i, number in enumerate(seen)}
    observer.calls = [observer.calls[number] for number in seen]
    for number, call in zip(seen, observer.calls, strict=True):
        call.output = values[f"{OUTPUT}_{number}"]
        if f"{DELTA}_{number}" in values:
            call.gradients.append(values[f"{DELTA}_{number}"])
        call.origins = flow.origins([f"{OUTPUT}_{number}"], place)
        call.between = frozenset(flow.origins([f"{INPUT}_{number}"], place).operations)
    observer.predicted = [
        predicted
        for i, structure in enumerate(observer.predicted)
        if (predicted := _of_call(i, structure, values)) is not None
    ]
    observer.loss = values.get(LOSS)
    names = [f"{DATA}_{i}" for i in range(len(observer.inputs))]
    observer.inputs = [values[name] for name in names if name in values]
    observer.penalties = [values[name] for name in values if name.startswith(PENALTY)]
    for i, target in enumerate(observer.targets):
        target.put(values.get(f"{part}_{i}") for part in TOLD)
    marks = [f"{PREDICTION}_{i}" for i in range(len(observer.targets))]
    marks = marks or [name for name in values if name.startswith(CALLED)][-1:]
    observer.prediction_origins = flow.origins(marks, place)


def _of_call(number: int, structure: Any, values: dict[str, Any]) -> Any:
    """What a call of the model returned, None if the step does not hold it."""
    leaves, tree = jax.tree.flatten(structure)
    found = [values.get(f"{CALLED}_{number}_{i}") for i in range(len(leaves))]
    return None if any(value is None for value in found) else jax.tree.unflatten(tree, found)


def _marked_call(observer: Observer, original: Callable[..., Any]) -> Callable[..., Any]:
    """Stands in for the model's own ``call``: marks what it returns."""

    def call(*args: Any, **kwargs: Any) -> Any:
        before = len(observer.predicted)
        predicted = original(*args, **kwargs)
        with observer.faults.contained("capture", LOST):
            for number in range(before, len(observer.predicted)):
                for i, x in enumerate(jax.tree.leaves(observer.predicted[number])):
                    checkpoint_name(x, f"{CALLED}_{number}_{i}")
        return predicted

    return call


def _marked_loss(observer: Observer, original: Callable[..., Any]) -> Callable[..., Any]:
    """Stands in for ``model.compute_loss``: marks what the observer notes of it."""

    def compute_loss(*args: Any, **kwargs: Any) -> Any:
        loss = original(*args, **kwargs)
        with observer.faults.contained("capture", LOST):
            checkpoint_name(jnp.asarray(loss), LOSS)
            for i, target in enumerate(observer.targets):
                for part, x in zip(TOLD, target.tensors, strict=True):
                    if x is not None and hasattr(x, "shape"):
                        checkpoint_name(jnp.asarray(x), f"{part}_{i}")
            for i, x in enumerate(observer.inputs):
                checkpoint_name(x, f"{DATA}_{i}")
            for i, x in enumerate(observer.penalties):
                checkpoint_name(x, f"{PENALTY}_{i}")
        return loss

    return compute_loss


def _watched_apply(
    optimizer: Any, observer: Observer, original: Callable[..., Any]
) -> Callable[..., Any]:
    """Stands in for ``optimizer.stateless_apply``: notes the update."""

    def stateless_apply(optimizer_variables: Any, grads: Any, trainable_variables: Any) -> Any:
        grads, before = list(grads), list(trainable_variables)
        after, slots = original(optimizer_variables, grads, before)
        with observer.faults.contained("capture", LOST):
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

    def values(self) -> dict[str, Any]:
        """The newest value of each mark whose value is asked for."""
        wanted = (OUTPUT, DELTA, LOSS, DATA, PENALTY, CALLED, *TOLD)
        return {
            name: equations[-1].outvars[0]
            for name, equations in self._marks.items()
            if name.startswith(wanted)
        }

    def origins(self, marks: list[str], place: dict[int, int]) -> Origins:
        """The nearest marked outputs behind some marks, and the operations on the way.

        Args:
            marks: their names.
            place: number of a marked output -> what it is known by.
        """
        found = Origins(set(), False, set())
        seen: set[Any] = set()
        made = (equation for mark in marks for equation in self._marks.get(mark, ()))
        waiting = [v for equation in made for v in equation.invars]
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
                found.known.add(place[int(called.removeprefix(f"{OUTPUT}_"))])
                continue
            if name not in STRUCTURAL:
                # functions that JAX calls by name, such as relu
                found.operations.add(ACTIVATIONS.get(called or name, called or name))
            waiting.extend(equation.invars)
        return found


BACKEND = JaxBackend()
