"""Capture on Keras's torch backend: operation by operation, so nothing is traced."""

from __future__ import annotations

import datetime
import io
import itertools
import re
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import distributed

from initwatch.capture.backends.protocol import (
    Change,
    Flag,
    Origins,
    Outbox,
    Rehearsed,
    Shadow,
    TrainFunction,
    TrainStep,
    same,
)
from initwatch.capture.observer import Observer, is_stock, optimizers_of, watched_apply
from initwatch.capture.reductions import Reduction, Sums, alike
from initwatch.errors import UnsupportedError

# How long the others may take to send a row of a step that is over; the process group's own
# patience is 10 to 30 minutes.
PATIENCE = datetime.timedelta(minutes=2)

# Elements of a matrix up to which it is stacked with its like: 64 KB in float32. Calls of
# operations take most of the time below, and the copy above.
STACKED = 2**14

# Operations that move elements without changing them, by the names of their gradients.
STRUCTURAL = frozenset(
    "Accumulate Alias AsStrided Cat Clone Expand Index IndexSelect Permute Repeat Reshape "
    "ReshapeAlias Select Slice Squeeze Stack T ToCopy Transpose Unbind Unsafe UnsafeView "
    "Unsqueeze View".split()
)


class _Peers:
    """The other processes of a data-parallel training, each with its share of every batch.

    Rows go by way of the store that the process group was set up with: a collective would hang
    where one process alone has something to say.
    """

    _made = itertools.count()  # the same in all processes that do the same

    def __init__(self) -> None:
        store = distributed.distributed_c10d._get_default_store()
        self._store = distributed.PrefixStore(f"initwatch/{next(self._made)}", store)
        self._rank = distributed.get_rank()
        self.size = distributed.get_world_size()
        self._sent = 0
        self._store.set(f"here/{self._rank}", b"")
        self._checked = False

    def exchange(self, rows: list[dict[str, NDArray[Any]]]) -> list[dict[str, NDArray[Any]]]:
        """The rows of all processes, those of one step behind each other.

        Raises:
            UnsupportedError: if some process does not take part.
        """
        # after a step all processes are in their fit: the gradients of all were needed for it
        if not self._checked and not self._store.check([f"here/{r}" for r in range(self.size)]):
            raise UnsupportedError(
                f"only some of the {self.size} processes of this training run initwatch, and "
                "what is measured must be of the whole batch. Give the callback to all of them; "
                "the first alone writes."
            )
        self._checked = True
        self._store.set(self._key(self._sent, self._rank), _packed(rows))
        keys = [self._key(self._sent, rank) for rank in range(self.size)]
        self._store.wait(keys, PATIENCE)
        everyone = [_unpacked(self._store.get(key)) for key in keys]
        if self._sent >= 2:  # all have sent the one after it, so all have read it
            self._store.delete_key(self._key(self._sent - 2, self._rank))
        self._sent += 1
        return [
            {name: np.concatenate([row[name].reshape(1, -1) for row in step]) for name in step[0]}
            for step in zip(*everyone, strict=True)
        ]

    def _key(self, exchange: int, rank: int) -> str:
        return f"rows/{exchange}/{rank}"


def _packed(rows: list[dict[str, NDArray[Any]]]) -> bytes:
    file = io.BytesIO()
    named = {f"{i}/{name}": values for i, row in enumerate(rows) for name, values in row.items()}
    np.savez(file, allow_pickle=False, **named)
    return file.getvalue()


def _unpacked(data: bytes) -> list[dict[str, NDArray[Any]]]:
    rows: dict[int, dict[str, NDArray[Any]]] = {}
    with np.load(io.BytesIO(data)) as file:
        for key in file.files:
            i, name = key.split("/")
            rows.setdefault(int(i), {})[name] = file[key]
    return [rows[i] for i in sorted(rows)]


class _Outbox:
    """Rows as they come: a step is over before its rows are taken."""

    def __init__(self) -> None:
        self._rows: list[Mapping[str, Any]] = []
        self._peers = _Peers() if _processes() > 1 else None
        # each process has the mean loss of its own examples
        self.share = 1.0 if self._peers is None else 1.0 / self._peers.size

    def put(self, row: Mapping[str, Any]) -> None:
        self._rows.append(row)

    def take(self) -> list[Mapping[str, NDArray[Any]]]:
        taken, self._rows = self._rows, []
        rows = [{name: value.cpu().numpy() for name, value in row.items()} for row in taken]
        return list(rows if self._peers is None else self._peers.exchange(rows))


def _processes() -> int:
    """How many train together; 1 where no process group is set up."""
    together = distributed.is_available() and distributed.is_initialized()
    return distributed.get_world_size() if together else 1


class _Flag:
    """A plain bool: the step is Python."""

    def __init__(self) -> None:
        self._on = False

    def set(self, value: bool) -> None:
        self._on = value

    def value(self) -> bool:
        return self._on


class _Step:
    """The instrumented train function; it knows its newest batches."""

    def __init__(self, train_step: TrainStep) -> None:
        self._train_step = train_step
        self.newest: Any = None

    def __call__(self, data: Any) -> Any:
        self.newest = data
        return self._train_step(data[0])  # as Keras's own does


class _Rehearsal:
    """See ``protocol.Rehearsal``. Needed where the user's own step is compiled and ours is not."""

    always = False

    def __init__(self, model: Any, function: TrainFunction) -> None:
        self.needed = bool(model.jit_compile)
        self._model = model
        self._function = function

    def serves(self, function: TrainFunction, *args: Any) -> bool:
        return function is self._function

    def again(self, ours: TrainFunction, change: Change = same) -> Generator[None, None, None]:
        if not isinstance(ours, _Step) or ours.newest is None:
            return
        drawn = ours.newest
        try:
            data = [change(drawn[0])]
            with self._undone():
                while True:
                    ours(data)
                    yield
        finally:
            ours.newest = drawn

    def newest(self, ours: TrainFunction) -> Any:
        return ours.newest[0] if isinstance(ours, _Step) and ours.newest is not None else None

    def both(self, ours: TrainFunction, own: TrainFunction, *args: Any) -> Rehearsed | None:
        failure: Exception | None = None
        with self._undone():
            after = self._state()
            try:
                ours(*args)
                after = self._state()
            except Exception as error:
                failure = error  # told to the caller, once the user's own step has run
        result = own(*args)
        equal = failure is None and all(
            a.numpy().tobytes() == b.numpy().tobytes()
            for a, b in zip(self._bytes(after), self._bytes(self._state()), strict=True)
        )
        return Rehearsed(result, equal, failure)

    @contextmanager
    def _undone(self) -> Iterator[None]:
        """Puts back what a step changes."""
        before, generator = self._state(), torch.get_rng_state()
        try:
            yield
        finally:
            with torch.no_grad():
                for tensor, value in zip(self._tensors(), before, strict=True):
                    tensor.copy_(value)
            torch.set_rng_state(generator)

    def _tensors(self) -> list[torch.Tensor]:
        """Everything a step changes: weights, seeds, metrics, slots, buffers of torch modules."""
        model = self._model
        slots = [v for o in optimizers_of(model) for v in o.variables]
        # a metric's variables are not among the model's
        variables = [*model.variables, *model.metrics_variables, *slots]
        known = [variable.value for variable in variables]
        return [*known, *(b for b in model.buffers() if all(b is not t for t in known))]

    def _state(self) -> list[torch.Tensor]:
        return [tensor.detach().clone() for tensor in self._tensors()]

    @staticmethod
    def _bytes(state: list[torch.Tensor]) -> list[torch.Tensor]:
        return [value.cpu().reshape(-1).view(torch.uint8) for value in state if value.numel()]


class TorchBackend:
    """See ``protocol.Backend``."""

    end_of_data: tuple[type[BaseException], ...] = (StopIteration,)

    def refusal(self, model: Any) -> str | None:
        return None

    def writes(self) -> bool:
        return _processes() == 1 or distributed.get_rank() == 0

    @contextmanager
    def seeded(self, seed: int) -> Iterator[None]:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            yield

    def looking(self) -> AbstractContextManager[None]:
        context: AbstractContextManager[None] = torch.random.fork_rng()
        return context

    def build(
        self, model: Any, train_step: TrainStep, outbox: Outbox, flag: Flag, *args: Any
    ) -> TrainFunction:
        return _Step(train_step)

    def build_model(self, model: Any, *args: Any) -> bool:
        return False  # Keras builds it before training begins, if that can be done at all

    def settle(self, model: Any) -> None:
        """They always have."""

    def rehearsal(
        self, model: Any, function: TrainFunction, *args: Any, wanted: bool = False
    ) -> _Rehearsal | None:
        # a step of the user's in plain Python may count its runs
        wanted = wanted and is_stock(model) and _processes() == 1
        return _Rehearsal(model, function) if model.jit_compile or wanted else None

    def observed(self, observer: Observer, step: TrainStep, *args: Any, **kwargs: Any) -> Any:
        return step(*args, **kwargs)

    def reading(self) -> AbstractContextManager[None]:
        context: AbstractContextManager[None] = torch.no_grad()
        return context

    def double(self) -> AbstractContextManager[None]:
        return nullcontext()

    def place(self) -> Any:
        return None

    def shadows(self, observer: Observer) -> list[Shadow]:
        return [(o, "apply", watched_apply(o)) for o in optimizers_of(observer.model)]

    def tap(self, x: Any, on_gradient: Callable[[Any], None] | None, inputs: list[Any]) -> Any:
        if on_gradient is not None and x.requires_grad:
            x.register_hook(lambda gradient: on_gradient(gradient.detach()))
        return x

    def is_tensor(self, x: Any) -> bool:
        return isinstance(x, torch.Tensor) and not isinstance(x, torch.nn.Parameter)

    def read(self, variable: Any) -> Any:
        # a copy: optimizers change variables in place
        return getattr(variable, "value", variable).detach().clone()

    def of_all_replicas(self, gradients: list[Any]) -> list[Any]:
        return gradients

    def of_all_examples(self, x: Any) -> Any:
        return x

    def dense(self, gradient: Any) -> Any:
        return gradient.to_dense() if gradient.is_sparse else gradient

    def marks(self, x: Any) -> list[Any]:
        return [x] if x.grad_fn is None else [x, x.grad_fn]

    def origins(self, x: Any, known: dict[int, int]) -> Origins:
        if id(x) in known:
            return Origins({known[id(x)]}, False, set())
        if x.grad_fn is None:
            # nothing remembers how a tensor without a gradient came about
            return Origins(set(), True, {"unknown"})
        found: set[int] = set()
        operations: set[str] = set()
        seen: set[Any] = set()
        waiting = [x.grad_fn]
        while waiting:
            function = waiting.pop()
            if function is None or function in seen:
                continue
            seen.add(function)
            if id(function) in known:
                found.add(known[id(function)])
                continue
            operation = re.sub(r"(Backward|Grad)\d*$", "", type(function).__name__)
            if operation not in STRUCTURAL:
                operations.add(operation)
            waiting.extend(following for following, _ in function.next_functions)
        # a branch that ends in nothing is data or a constant; data that a layer is given
        # besides is seen at its arguments
        return Origins(found, not found, operations)

    def may_be_fused(self, x: Any) -> bool:
        return False

    def apart(self, x: Any) -> Any:
        return x

    def logits_of(self, prediction: Any) -> Any:
        return None

    def sum_of_squares(self, x: Any) -> Any:
        flat = x.reshape(-1)
        # many dot products at a time are slower than one after the other
        return torch.dot(flat, flat) if flat.numel() > STACKED else flat.square().sum()

    def count_nonzero(self, x: Any) -> Any:
        return torch.count_nonzero(x).to(torch.float32)

    def order(self, arguments: list[tuple[Any, ...]]) -> list[int]:
        return [i for group in alike(arguments, STACKED) for i in group]

    def each(self, reduction: Reduction, arguments: list[tuple[Any, ...]]) -> tuple[list[int], Any]:
        order = self.order(arguments)
        if not isinstance(reduction, Sums):
            (found,) = self._of_groups(lambda *its: (reduction(*its),), arguments)
            return order, torch.cat([its.reshape(-1) for its in found])
        fields, trusted = self._of_groups(reduction.tried, arguments)
        sums = torch.cat(fields)
        # one question for all: an accelerator is waited for once
        good = torch.cat(trusted).tolist()
        lost = [place for place, held in enumerate(good) if not held]
        if lost:
            again = [arguments[order[place]] for place in lost]
            (found,) = self._of_groups(lambda *its: (reduction.retaken(*its),), again)
            sums[[lost[i] for i in self.order(again)]] = torch.cat(found)
        return order, sums.reshape(-1)

    @staticmethod
    def _of_groups(
        function: Callable[..., tuple[Any, ...]], arguments: list[tuple[Any, ...]]
    ) -> list[tuple[Any, ...]]:
        """Each result of a function of matrices: a tensor, stacked, for each group of like ones."""
        results = []
        for group in alike(arguments, STACKED):
            calls = [arguments[i] for i in group]
            if len(calls) == 1:  # without a copy
                results.append(tuple(each.unsqueeze(0) for each in function(*calls[0])))
                continue
            stacked = [torch.stack(matrices) for matrices in zip(*calls, strict=True)]
            results.append(torch.vmap(function)(*stacked))
        return list(zip(*results, strict=True))

    def outbox(self, rows: int) -> _Outbox:
        return _Outbox()

    def flag(self) -> _Flag:
        return _Flag()


BACKEND = TorchBackend()
