"""Capture on Keras's TensorFlow backend."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import replace
from functools import partial, reduce
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.python.eager import context
from tensorflow.python.framework import op_def_registry
from tensorflow.python.ops import resource_variable_ops, stateful_random_ops

from initwatch.capture.backends.protocol import (
    Change,
    Flag,
    Origins,
    Outbox,
    Rehearsal,
    Rehearsed,
    Shadow,
    TrainFunction,
    TrainStep,
    drawn,
    same,
)
from initwatch.capture.observer import Observer, is_stock, optimizers_of, watched_apply
from initwatch.capture.reductions import Reduction, Sums, alike
from initwatch.errors import UnsupportedError

# Elements of a matrix up to which it is stacked with its like: 16 KB in float32. Scheduling of
# operations takes most of the time below, and the copy above. Fewer are not worth the 0.15 s that
# it takes to trace the sums of many.
STACKED = 2**12
STACKED_FROM = 16

# Operations that move elements without changing them: a tensor behind them is the same signal.
STRUCTURAL = frozenset(
    "Identity IdentityN Reshape Cast Transpose ExpandDims Squeeze Shape StridedSlice Pack "
    "ConcatV2 Const Fill Prod GatherV2 StopGradient".split()
)

# Those of them that keep the elements' order too.
MOVES = frozenset(["Identity", "IdentityN", "Reshape", "StopGradient"])

# Operations that TensorFlow's graph optimizer merges into the one before them if they are its
# only reader (batch normalisation or a sum into the ReLU behind it, a bias into its
# activation). Found by measuring ResNet-20: with a second reader at such a place its weights
# differ by 7e-2 after 12 steps, without they are equal bit for bit.
FUSING = frozenset("Relu Relu6 Elu LeakyRelu Tanh Sigmoid AddV2 Add AddN BiasAdd".split())

OWN = "of_initwatch"  # marks variables that are ours
TAKEN_AGAIN = "_taken_again_by_initwatch"  # of a tensor in our own graph, see ``apart``

# Stateful operations whose doings are undone by putting the values of variables back. Printing,
# Python functions, tables and summaries are not among them.
UNDONE = re.compile(
    r"(Read|Assign\w*|Destroy)VariableOp$|Var(Handle|IsInitialized)|VariableShape|ResourceGather|ResourceScatter"
    r"|ResourceApply|ResourceSparseApply|ResourceStridedSliceAssign|Iterator|Anonymous|Optional"
    r"|Rng|Stateful|Stateless|Random|Truncated|Multinomial|Parameterized|Assert$|If$|While$|Case$"
    r"|PartitionedCall$|_?Arg$|_?Retval$|Placeholder|Collective"
)

# Random operations that keep a counter in the function they belong to: the user's own must run at
# every batch, or its next draw would be another one.
COUNTING = re.compile(r"(Random|Truncated|Multinomial|Parameterized)")

CANNOT_REPEAT = (
    "this training step draws from tf.random and does what cannot be undone (reads an iterator of "
    "its own, calls Python, ...). Observing it would change what it draws; keras.random or "
    "tf.random.Generator in place of tf.random would not."
)

# What ``fit`` hands to a train function; ``train_on_batch`` hands over a generator.
ITERATORS = (tf.data.Iterator, tf.distribute.DistributedIterator)

# Sums and products that TensorFlow's arithmetic optimizer regroups with those that read them,
# as long as there is no other reader: learning_rate * (a * b) becomes (learning_rate * a) * b.
# Found by measuring: with the gradient of a batch normalisation's gamma read a second time, the
# weights of a residual network differ in the last bit after one step.
REGROUPED = frozenset(["Add", "AddV2", "AddN", "Mul"])

# Readers with which a sum or a product is not regrouped: they are not elementwise. Any other
# reader is taken for one that may be.
NOT_REGROUPING = re.compile(
    r"(Batch)?MatMul(V2|V3)?$|Einsum$|(Conv[23]D|DepthwiseConv2dNative)(Backprop\w+)?$"
    r"|(Relu|Relu6|Elu|Selu|LeakyRelu)Grad$|FusedBatchNorm(Grad)?V3$|(Max|Avg)Pool(Grad)?$"
    r"|(Sum|Mean|Shape|ZerosLike|UnsortedSegmentSum|Transpose)$"
)


def _variable(value: Any) -> Any:
    """A variable of ours that outlives the trace in which it may be made.

    Made by its class: ``tf.Variable`` asks the scopes around it, of which a function would trace
    itself a second time and a strategy make one variable a replica.
    """
    with tf.init_scope(), tf.device("CPU:0"):
        variable = resource_variable_ops.ResourceVariable(value, trainable=False, name="initwatch")
    setattr(variable, OWN, True)
    return variable


def _value(variable: Any) -> NDArray[Any]:
    """What it holds; without the detours of ``variable.numpy()``."""
    value: NDArray[Any] = tf.raw_ops.ReadVariableOp(
        resource=variable.handle, dtype=variable.dtype
    ).numpy()
    return value


class _Outbox:
    """Shift registers [rows, replicas, width], one a name, and a count of the rows sent."""

    share = 1.0  # Keras divides the loss by the number of replicas

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._registers: dict[str, Any] = {}
        self._count = _variable(np.zeros((), "int64"))
        self._taken = 0

    def put(self, row: Mapping[str, Any]) -> None:
        replica = _replica()
        if replica is not None:
            row = {name: _gathered(replica, values) for name, values in row.items()}
            if tf.get_static_value(replica.replica_id_in_sync_group) != 0:
                return
        for name, values in row.items():
            values = tf.reshape(values, (-1, values.shape[-1]))
            shape = (self._rows, *values.shape)
            register = self._registers.get(name)
            if register is None or tuple(register.shape) != shape:
                # also a step traced anew for other data, with other things to say
                register = _variable(np.zeros(shape, values.dtype.as_numpy_dtype))
                self._registers[name] = register
            older = [register[1:]] if self._rows > 1 else []
            register.assign(tf.concat([*older, values[None]], axis=0))
        self._count.assign_add(tf.ones_like(self._count))

    def take(self) -> list[Mapping[str, NDArray[Any]]]:
        total = int(_value(self._count))
        fresh = min(total - self._taken, self._rows)
        self._taken = total
        if fresh <= 0:
            return []
        values = {name: _value(register)[-fresh:] for name, register in self._registers.items()}
        return [{name: rows[i] for name, rows in values.items()} for i in range(fresh)]


def _replica() -> Any:
    """The context of one of several replicas, None where there is but one."""
    context = tf.distribute.get_replica_context()
    return context if context is not None and context.num_replicas_in_sync > 1 else None


def _gathered(replica: Any, values: Any) -> Any:
    """[replicas, width] of one replica's [width]; bools as what can be sent."""
    whole = replica.all_gather(tf.cast(values, tf.float32)[None], axis=0)
    whole = tf.ensure_shape(whole, (replica.num_replicas_in_sync, *values.shape))
    return tf.cast(whole, values.dtype)


class _Flag:
    """A ``tf.Variable``: what ``tf.cond`` guards with it costs nothing while it is off."""

    def __init__(self) -> None:
        self._variable = _variable(False)
        self._set = False

    def set(self, value: bool) -> None:
        if value is not self._set:
            self._variable.assign(value)
            self._set = value

    def value(self) -> Any:
        return self._variable.read_value()


class _Rehearsal:
    """See ``protocol.Rehearsal``."""

    needed = True

    def __init__(self, model: Any, graph: Any, iterator: Any, always: bool) -> None:
        self.always = always
        self._graph = graph
        self._own_is_traced = False
        self._steps = int(model.steps_per_execution)
        self._batches: list[Any] = []
        self._strategy = model.distribute_strategy
        self._distributed = isinstance(iterator, tf.distribute.DistributedIterator)
        # the same element spec as the fit's own iterator, so that no function is traced again
        spec = iterator.element_spec
        if self._distributed:
            spec = tf.nest.map_structure(lambda s: getattr(s, "_value_specs", (s,))[0], spec)
        self._dataset = tf.data.Dataset.from_generator(self._parts, output_signature=spec)

    def serves(self, function: TrainFunction, *args: Any) -> bool:
        return isinstance(args[0], ITERATORS) and _traced(function, *args) is self._graph

    def both(self, ours: TrainFunction, own: TrainFunction, *args: Any) -> Rehearsed | None:
        self._batches, broken = drawn(args[0], self._steps)
        if not self._batches:
            return None
        if not self._own_is_traced and not self._distributed:
            ours = _beside(ours, partial(_traced, own, *args))
        self._own_is_traced = True
        done = _both(self._graph, ours, own, self._replay)
        if broken is not None:
            raise broken
        return done

    def again(self, ours: TrainFunction, change: Change = same) -> Generator[None, None, None]:
        if self._distributed or self.always or not self._batches:
            return
        drawn_last = self._batches
        try:
            self._batches = [change(batch) for batch in drawn_last]
            with _undone(self._graph):
                while True:
                    ours(self._replay())
                    yield
        finally:
            self._batches = drawn_last

    def newest(self, ours: TrainFunction) -> Any:
        return self._batches[-1] if self._batches and not self._distributed else None

    def _replay(self) -> Any:
        """The batches once more, in an iterator of the kind that the fit has."""
        if not self._distributed:
            return iter(self._dataset)
        return iter(self._strategy.distribute_datasets_from_function(lambda _: self._dataset))

    def _parts(self) -> Iterator[Any]:
        """The batches; of several replicas, their parts one after the other."""
        if not self._distributed:
            yield from self._batches
            return
        for batch in self._batches:
            for replica in range(self._strategy.num_replicas_in_sync):
                yield tf.nest.map_structure(partial(self._part, replica), batch)

    def _part(self, replica: int, value: Any) -> Any:
        return self._strategy.experimental_local_results(value)[replica]


class _LoopRehearsal:
    """For ``train_on_batch``, which hands its batch over in a generator.

    What the step does is known when the batch is, so it is looked at before each rehearsal.
    """

    always = False
    needed = True

    def __init__(self, function: TrainFunction) -> None:
        self._function = function
        self._newest: tuple[Any, Any] | None = None  # graph, batch

    def serves(self, function: TrainFunction, *args: Any) -> bool:
        return function is self._function and not isinstance(args[0], ITERATORS)

    def again(self, ours: TrainFunction, change: Change = same) -> Generator[None, None, None]:
        if self._newest is None:
            return
        graph, batch = self._newest
        batch = change(batch)
        with _undone(graph):
            while True:
                ours(iter([batch]))
                yield

    def newest(self, ours: TrainFunction) -> Any:
        return None if self._newest is None else self._newest[1]

    def both(self, ours: TrainFunction, own: TrainFunction, *args: Any) -> Rehearsed | None:
        batch = next(args[0])
        self._newest = None

        def replay() -> Any:
            return iter([batch])

        try:
            step = _one_step(ours)
            graph = None if step is None else step.get_concrete_function(batch).graph
            kinds = set() if graph is None else _kinds(graph)
            if graph is None or not (_counts(kinds) or _can_be_undone(graph, kinds)):
                return Rehearsed(ours(replay()), True, None)
            if not _can_be_undone(graph, kinds):
                raise UnsupportedError(CANNOT_REPEAT)
        except Exception as error:
            # the batch is ours to hand on: the user's own step trains on it, or says what is wrong
            return Rehearsed(own(replay()), True, error)
        done = _both(graph, ours, own, replay)
        self._newest = None if _counts(kinds) else (graph, batch)
        # seen as different: what counts its own runs is the user's to run each time
        return replace(done, equal=done.equal and not _counts(kinds))


def _both(
    graph: Any, ours: TrainFunction, own: TrainFunction, replay: Callable[[], Any]
) -> Rehearsed:
    """Runs ours, undoes it, and runs the user's own; ``replay`` gives both the same batches."""
    failure: Exception | None = None
    with _undone(graph) as handles:
        after = _values(handles)
        try:
            ours(replay())
            after = _values(handles)
        except Exception as error:
            failure = error  # told to the caller, once the user's own step has run
    result = own(replay())
    equal = failure is None and all(
        a.numpy().tobytes() == b.numpy().tobytes()
        for a, b in zip(after, _values(handles), strict=True)
    )
    return Rehearsed(result, equal, failure)


def _beside(ours: TrainFunction, trace: Callable[[], Any]) -> TrainFunction:
    """``ours``, running in a thread of its own while the user's step is traced in this one.

    The first run is spent in TensorFlow's optimizers, which leave Python to the tracing.
    """
    if context.context().device_name:
        return ours  # a scope around ``fit``, which another thread would not be in

    def run(*args: Any) -> Any:
        with ThreadPoolExecutor(max_workers=1) as pool:
            running = pool.submit(ours, *args)
            # whatever is wrong with the user's step, its own run says it, and to the user
            with suppress(Exception):
                trace()
            return running.result()

    return run


@contextmanager
def _undone(graph: Any) -> Iterator[list[Any]]:
    """Puts back what runs of the graph change; gives the resources concerned."""
    mine = {id(variable.handle) for variable in graph.variables if hasattr(variable, OWN)}
    handles = [handle for handle in _resources(graph) if id(handle) not in mine]
    before = _values(handles)
    try:
        yield handles
    finally:
        for handle, value in zip(handles, before, strict=True):
            tf.raw_ops.AssignVariableOp(resource=handle, value=value)


def _values(handles: list[Any]) -> list[Any]:
    # no copies: a variable whose value is held by someone is changed in a copy of it
    return [tf.raw_ops.ReadVariableOp(resource=h, dtype=_dtype(h)) for h in handles]


def _one_step(function: TrainFunction) -> Any:
    """The ``tf.function`` of a single batch in a train function of Keras's, None if eager."""
    for cell in getattr(function, "__closure__", None) or ():
        inner = getattr(cell.cell_contents, "__wrapped__", None)
        if hasattr(inner, "get_concrete_function"):
            return inner
    return None


def _traced(function: TrainFunction, *args: Any) -> Any:
    """The graph behind a train function that Keras made, None if there is none.

    Keras wraps its ``tf.function`` in a plain one; it is looked up among what that one closes
    over.
    """
    for cell in getattr(function, "__closure__", None) or ():
        if hasattr(cell.cell_contents, "get_concrete_function"):
            return cell.cell_contents.get_concrete_function(*args).graph
    return None


def _kinds(graph: Any) -> set[str]:
    """The kinds of operations in a graph and in the functions it calls."""
    definition = graph.as_graph_def()
    nodes = itertools.chain(
        definition.node, *(function.node_def for function in definition.library.function)
    )
    return {node.op for node in nodes} - {f.signature.name for f in definition.library.function}


def _resources(graph: Any) -> list[Any]:
    """What outlives the graph's runs and is read or changed in them."""
    return [outside for outside, _ in graph.captures if outside.dtype == tf.resource]


def _dtype(handle: Any) -> Any:
    """Type of the variable behind a resource, None if it is no variable."""
    data = resource_variable_ops.get_eager_safe_handle_data(handle)
    return tf.as_dtype(data.shape_and_type[0].dtype) if data is not None and data.is_set else None


def _counts(kinds: set[str]) -> bool:
    """True if some operation keeps count of its runs where nobody can reach it."""
    return any(COUNTING.match(kind) for kind in kinds)


def _can_be_undone(graph: Any, kinds: set[str]) -> bool:
    """True if putting variables back undoes all that a graph did."""
    if any(_dtype(handle) is None for handle in _resources(graph)):
        return False  # an iterator or a table of the user's: nothing turns it back
    for kind in kinds:
        known = op_def_registry.get(kind)
        if (known is None or known.is_stateful) and not UNDONE.match(kind):
            return False
    return True


def _readers(x: Any) -> Iterator[Any]:
    """The operations that read ``x``, or the same elements in the same order."""
    for operation in x.consumers():
        if operation.type in MOVES:
            for given, passed in zip(operation.inputs, operation.outputs, strict=False):
                if given is x:
                    yield from _readers(passed)
        else:
            yield operation


def _behind_moves(x: Any) -> Any:
    """The tensor that ``x`` is the same elements of, in the same order."""
    while x.op.type in MOVES:
        x = x.op.inputs[x.value_index if x.op.type == "IdentityN" else 0]
    return x


def _ends_in_probabilities(x: Any) -> bool:
    """True for the output of a softmax or sigmoid operation in a graph."""
    return not tf.executing_eagerly() and hasattr(x, "op") and x.op.type in ("Softmax", "Sigmoid")


def _sum(*terms: Any) -> Any:
    return reduce(tf.add, terms)


def _build_optimizer(model: Any) -> None:
    """Makes the optimizer's variables as its first ``apply`` would, one moment later.

    A function that makes variables is traced twice, and the optimizer makes its own in the
    first step. A ``train_step`` of the user's may train other variables: it is left alone.
    """
    optimizer = model.optimizer
    if optimizer is None or optimizer.built or not is_stock(model):
        return
    with keras.name_scope(optimizer.name, caller=optimizer):
        optimizer.build(model.trainable_variables)
    optimizer.built = True


class TensorFlowBackend:
    """See ``protocol.Backend``."""

    end_of_data: tuple[type[BaseException], ...] = (StopIteration, tf.errors.OutOfRangeError)

    def __init__(self) -> None:
        self._once: dict[tuple[Reduction, bool], Reduction] = {}  # of one matrix, of many
        self._vectorized = False  # many are being traced: of L2Loss there is no such form
        self._again: dict[tuple[str, int, Any], Callable[..., Any]] = {}
        self._own: set[str] = set()  # names of the functions of both

    def refusal(self, model: Any) -> str | None:
        strategy = model.distribute_strategy
        several = strategy.num_replicas_in_sync > 1
        if several and not isinstance(strategy, tf.distribute.MirroredStrategy):
            return (
                f"training under {type(strategy).__name__} with "
                f"{strategy.num_replicas_in_sync} replicas is not observed: the statistics of "
                "one replica are not those of the step. tf.distribute.MirroredStrategy is."
            )
        return None

    def writes(self) -> bool:
        return True  # training by several processes is refused

    @contextmanager
    def seeded(self, seed: int) -> Iterator[None]:
        """What it cannot put back: eager operations with a seed of their own start over."""
        eager = vars(context.context())  # has no _rng before the first seed is set
        before = {name: eager[name] for name in ("_seed", "_rng") if name in eager}
        generator = stateful_random_ops.global_generator
        tf.random.set_seed(seed)
        tf.random.set_global_generator(tf.random.Generator.from_seed(seed))
        try:
            yield
        finally:
            del eager["_rng"]
            eager.update(before)
            tf.random.set_global_generator(generator)

    @contextmanager
    def looking(self) -> Iterator[None]:
        # for a hundred layers, optimizing the graph takes as long as tracing it
        name = "disable_meta_optimizer"
        before = tf.config.optimizer.get_experimental_options().get(name, False)
        tf.config.optimizer.set_experimental_options({name: True})
        try:
            yield
        finally:
            tf.config.optimizer.set_experimental_options({name: before})

    def build(
        self, model: Any, train_step: TrainStep, outbox: Outbox, flag: Flag, *args: Any
    ) -> TrainFunction:
        # rows and switch go through variables, which the step reaches by itself
        # Keras reads both attributes from the instance; writing through __dict__ keeps its
        # attribute tracking (and so the model's checkpoints) out of it.
        before = {
            name: model.__dict__[name]
            for name in ("train_step", "train_function")
            if name in model.__dict__
        }
        _build_optimizer(model)
        try:
            model.__dict__["train_step"] = train_step
            model.make_train_function(force=True)
            function: TrainFunction = model.__dict__["train_function"]
        finally:
            for name in ("train_step", "train_function"):
                model.__dict__.pop(name, None)
            model.__dict__.update(before)
        return function

    def build_model(self, model: Any, *args: Any) -> bool:
        if type(model).call is keras.Model.call:
            return False  # parts of it are called by a train_step of the user's
        optimizer = model.optimizer
        if optimizer is not None and not is_stock(model):
            # a train_step of the user's may never use it, or on other variables
            optimizer.__dict__["build"] = lambda variables: None
        try:
            # as Keras itself does where it must know the weights before the first step
            model._symbolic_build(data_batch=args[0].element_spec)
        except Exception:
            # A model may do in its step what cannot be done without it: a train_step of the
            # user's, data that Keras cannot stand for. False says so, and nothing is lost.
            return False
        finally:
            if optimizer is not None:
                optimizer.__dict__.pop("build", None)
        return True

    def settle(self, model: Any) -> None:
        """They always have."""

    def rehearsal(
        self, model: Any, function: TrainFunction, *args: Any, wanted: bool = False
    ) -> Rehearsal | None:
        if not isinstance(args[0], ITERATORS):
            return _LoopRehearsal(function)
        graph = _traced(function, *args)
        if graph is None:
            return None
        kinds = _kinds(graph)
        if _can_be_undone(graph, kinds):
            return _Rehearsal(model, graph, args[0], always=_counts(kinds))
        if _counts(kinds):
            raise UnsupportedError(CANNOT_REPEAT)
        return None

    def observed(self, observer: Observer, step: TrainStep, *args: Any, **kwargs: Any) -> Any:
        return step(*args, **kwargs)

    def reading(self) -> AbstractContextManager[None]:
        return nullcontext()

    def shadows(self, observer: Observer) -> list[Shadow]:
        return [(o, "apply", watched_apply(o)) for o in optimizers_of(observer.model)]

    def double(self) -> AbstractContextManager[None]:
        return nullcontext()

    def place(self) -> Any:
        return None if tf.executing_eagerly() else tf.compat.v1.get_default_graph()

    def tap(self, x: Any, on_gradient: Callable[[Any], None] | None, inputs: list[Any]) -> Any:
        if on_gradient is None or (not hasattr(x, "_keras_logits") and _ends_in_probabilities(x)):
            # Keras's losses look at the very operation that made a prediction: behind an
            # identity they would compute it otherwise
            return x

        @tf.custom_gradient  # type: ignore[untyped-decorator]
        def identity(value: Any) -> tuple[Any, Callable[[Any], Any]]:
            def gradient(upstream: Any) -> Any:
                on_gradient(upstream)
                return upstream

            return tf.identity(value), gradient

        tapped = identity(x)
        # Keras hangs what the loss and later layers need on the tensor itself: the logits
        # behind a softmax, the mask. Without them another loss would be computed.
        for name in ("_keras_logits", "_keras_mask"):
            if hasattr(x, name):
                setattr(tapped, name, getattr(x, name))
        return tapped

    def is_tensor(self, x: Any) -> bool:
        return isinstance(x, tf.Tensor)

    def read(self, variable: Any) -> Any:
        # identity: converting a tf.Variable may hand back the variable itself, to be read
        # later, after the optimizer has changed it
        return tf.identity(getattr(variable, "value", variable))

    def of_all_replicas(self, gradients: list[Any]) -> list[Any]:
        replica = _replica()
        known = [self.dense(gradient) for gradient in gradients if gradient is not None]
        if replica is None or not known:
            return gradients
        summed = iter(replica.all_reduce(tf.distribute.ReduceOp.SUM, known))
        return [None if gradient is None else next(summed) for gradient in gradients]

    def of_all_examples(self, x: Any) -> Any:
        replica = _replica()
        return x if replica is None else replica.all_gather(x, axis=0)

    def dense(self, gradient: Any) -> Any:
        if isinstance(gradient, tf.IndexedSlices):
            return tf.math.unsorted_segment_sum(
                gradient.values, gradient.indices, gradient.dense_shape[0]
            )
        return gradient

    def marks(self, x: Any) -> list[Any]:
        return [x]

    def origins(self, x: Any, known: dict[int, int]) -> Origins:
        if id(x) in known:
            return Origins({known[id(x)]}, False, set())
        if tf.executing_eagerly() or not hasattr(x, "op"):
            # nothing remembers how an eager tensor came about
            return Origins(set(), True, {"unknown"})
        found: set[int] = set()
        operations: set[str] = set()
        from_input = False
        seen: set[int] = set()
        waiting = [x]
        while waiting:
            tensor = waiting.pop()
            if id(tensor) in known:
                found.add(known[id(tensor)])
                continue
            operation = tensor.op
            if id(operation) in seen:
                continue
            seen.add(id(operation))
            if operation.type in ("Placeholder", "PlaceholderWithDefault"):
                # variables enter a traced function as placeholders of type resource
                from_input |= tensor.dtype not in (tf.resource, tf.variant)
                continue
            if operation.type == "Shape":
                continue  # the size of a tensor carries none of its signal
            if operation.type not in STRUCTURAL:
                operations.add(operation.type)
            waiting.extend(operation.inputs)
        return Origins(found, from_input, operations)

    def may_be_fused(self, x: Any) -> bool:
        if tf.executing_eagerly() or not hasattr(x, "consumers"):
            return False
        readers = x.consumers()
        return len(readers) == 1 and readers[0].type in FUSING

    def apart(self, x: Any) -> Any:
        if tf.executing_eagerly() or not hasattr(x, "op"):
            return x
        source = _behind_moves(x)
        operation = source.op
        if operation.type not in REGROUPED or all(map(self._reads_only, _readers(source))):
            return x
        # along a residual trunk one sum is in the next: each is taken again once
        result = getattr(source, TAKEN_AGAIN, None)
        if result is None:
            # from what went into it, where the optimizer does not look
            inputs = [self._ungrouped(value, operation.type) for value in operation.inputs]
            result = self._operation(operation.type, len(inputs), source.dtype)(*inputs)
            if result.graph is source.graph:
                setattr(source, TAKEN_AGAIN, result)
        return tf.reshape(result, tf.shape(x)) if x is not source else result

    def _reads_only(self, operation: Any) -> bool:
        """True for a reader that is not regrouped with what it reads: some, and all of ours."""
        if operation.type in ("PartitionedCall", "StatefulPartitionedCall"):
            return operation.get_attr("f").name in self._own
        return bool(NOT_REGROUPING.match(operation.type))

    def _ungrouped(self, x: Any, kind: str) -> Any:
        """``x``, or ``x`` taken again if it belongs to the group of sums or of products read."""
        found = _behind_moves(x).op.type
        same = found in REGROUPED and (found == "Mul") == (kind == "Mul")
        return self.apart(x) if same else x

    def _operation(self, kind: str, arity: int, dtype: Any) -> Callable[..., Any]:
        """The sum or product of ``arity`` tensors, as a function that is never inlined."""
        key = (kind, arity, dtype)
        if key not in self._again:
            function = tf.multiply if kind == "Mul" else _sum
            self._again[key] = self._never_inlined(function, [tf.TensorSpec(None, dtype)] * arity)
        return self._again[key]

    def _never_inlined(self, function: Callable[..., Any], signature: list[Any]) -> Any:
        """A function that stays one in the graph of the step."""
        made = tf.function(
            lambda *tensors: function(*tensors),
            input_signature=signature,
            autograph=False,
            experimental_attributes={"_noinline": True},
        )
        self._own.add(made.get_concrete_function().function_def.signature.name)
        return made

    def logits_of(self, prediction: Any) -> Any:
        known = getattr(prediction, "_keras_logits", None)
        if known is None and _ends_in_probabilities(prediction):
            known = prediction.op.inputs[0]
        return known

    def sum_of_squares(self, x: Any) -> Any:
        # half the sum; reduce_sum(square(x)) writes the squares first
        return tf.reduce_sum(tf.square(x)) if self._vectorized else 2.0 * tf.nn.l2_loss(x)

    def count_nonzero(self, x: Any) -> Any:
        # a comparison's bools would be written, cast and written again before they are summed
        return self.sum_of_squares(tf.sign(x))

    def order(self, arguments: list[tuple[Any, ...]]) -> list[int]:
        return [i for group in alike(arguments, STACKED) for i in group]

    def each(self, reduction: Reduction, arguments: list[tuple[Any, ...]]) -> tuple[list[int], Any]:
        results = []
        for group in alike(arguments, STACKED):
            calls = [arguments[i] for i in group]
            if len(calls) < STACKED_FROM or not isinstance(reduction, Sums):
                once = self._traced_once(reduction, len(calls[0]))
                results += [once(*matrices) for matrices in calls]
                continue
            stacked = [tf.stack(matrices) for matrices in zip(*calls, strict=True)]
            found = self._traced_once(reduction, len(stacked), many=True)(*stacked)
            results.append(tf.reshape(found, [len(calls) * found.shape[-1]]))
        return self.order(arguments), tf.concat(results, axis=0)

    def _traced_once(self, reduction: Reduction, taken: int, many: bool = False) -> Reduction:
        if (reduction, many) not in self._once:
            # not inlined: else every tensor adds some thirty nodes to what TensorFlow must
            # optimize before the first step
            signature = [tf.TensorSpec([None] * (3 if many else 2), tf.float32)] * taken
            function = partial(self._of_many, reduction) if many else reduction
            self._once[reduction, many] = self._never_inlined(function, signature)
        return self._once[reduction, many]

    def _of_many(self, sums: Any, *stacked: Any) -> Any:
        """Sums of each of the stacked matrices, a row each."""

        def each(function: Callable[..., Any]) -> Any:
            return tf.vectorized_map(
                lambda its: function(*its), stacked, fallback_to_while_loop=False
            )

        self._vectorized = True
        try:
            fields, trusted = each(sums.tried)
            found = tf.cond(
                tf.reduce_all(trusted),
                lambda: fields,
                lambda: each(sums.retaken),
            )
        finally:
            self._vectorized = False
        return found

    def outbox(self, rows: int) -> _Outbox:
        return _Outbox(rows)

    def flag(self) -> _Flag:
        return _Flag()


BACKEND = TensorFlowBackend()
