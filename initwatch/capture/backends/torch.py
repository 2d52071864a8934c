"""Capture on Keras's torch backend: operation by operation, so nothing is traced."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from numpy.typing import NDArray

from initwatch.capture.backends.protocol import (
    Flag,
    Origins,
    Outbox,
    Rehearsed,
    TrainFunction,
    TrainStep,
)
from initwatch.capture.observer import Observer, optimizers_of
from initwatch.capture.reductions import Reduction, delta_sums, matrix

# Operations that move elements without changing them, by the names of their gradients.
STRUCTURAL = frozenset(
    "Accumulate Alias AsStrided Cat Clone Expand Index IndexSelect Permute Repeat Reshape "
    "ReshapeAlias Select Slice Squeeze Stack T ToCopy Transpose Unbind Unsafe UnsafeView "
    "Unsqueeze View".split()
)


class _Outbox:
    """Rows as they come: a step is over before its rows are taken."""

    def __init__(self) -> None:
        self._rows: list[Mapping[str, Any]] = []

    def put(self, row: Mapping[str, Any]) -> None:
        self._rows.append(row)

    def take(self) -> list[Mapping[str, NDArray[Any]]]:
        rows, self._rows = self._rows, []
        return [{name: value.cpu().numpy() for name, value in row.items()} for row in rows]


class _Flag:
    """A plain bool: the step is Python."""

    def __init__(self) -> None:
        self._on = False

    def set(self, value: bool) -> None:
        self._on = value

    def value(self) -> bool:
        return self._on


class _Rehearsal:
    """See ``protocol.Rehearsal``. Needed where the user's own step is compiled and ours is not."""

    always = False

    def __init__(self, model: Any, function: TrainFunction) -> None:
        self._model = model
        self._function = function

    def serves(self, function: TrainFunction, *args: Any) -> bool:
        return function is self._function

    def both(self, ours: TrainFunction, own: TrainFunction, *args: Any) -> Rehearsed | None:
        failure: Exception | None = None
        before = after = self._state()
        generator = torch.get_rng_state()
        try:
            ours(*args)
            after = self._state()
        except Exception as error:
            failure = error  # told to the caller, once the user's own step has run
        finally:
            with torch.no_grad():
                for tensor, value in zip(self._tensors(), before, strict=True):
                    tensor.copy_(value)
            torch.set_rng_state(generator)
        result = own(*args)
        equal = failure is None and all(
            a.numpy().tobytes() == b.numpy().tobytes()
            for a, b in zip(self._bytes(after), self._bytes(self._state()), strict=True)
        )
        return Rehearsed(result, equal, failure)

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

    def build(self, model: Any, train_step: TrainStep, outbox: Outbox, flag: Flag) -> TrainFunction:
        def train_function(data: Any) -> Any:
            return train_step(data[0])  # as Keras's own does

        return train_function

    def build_model(self, model: Any, *args: Any) -> bool:
        return False  # Keras builds it before training begins, if that can be done at all

    def rehearsal(self, model: Any, function: TrainFunction, *args: Any) -> _Rehearsal | None:
        return _Rehearsal(model, function) if model.jit_compile else None

    def reading(self) -> AbstractContextManager[None]:
        context: AbstractContextManager[None] = torch.no_grad()
        return context

    def double(self) -> AbstractContextManager[None]:
        return nullcontext()

    def place(self) -> Any:
        return None

    def shadows(self, observer: Observer) -> list[tuple[Any, str, Callable[..., Any]]]:
        return [(o, "apply", observer.watched_apply(o)) for o in optimizers_of(observer.model)]

    def tap(self, x: Any, on_gradient: Callable[[Any], None] | None, inputs: list[Any]) -> Any:
        if on_gradient is not None and x.requires_grad:
            x.register_hook(lambda gradient: on_gradient(gradient.detach()))
        return x

    def delta_sums(self, handed: Any) -> Any:
        return delta_sums(matrix(handed))

    def is_tensor(self, x: Any) -> bool:
        return isinstance(x, torch.Tensor) and not isinstance(x, torch.nn.Parameter)

    def read(self, variable: Any) -> Any:
        # a copy: optimizers change variables in place
        return getattr(variable, "value", variable).detach().clone()

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

    def settle(self, function: TrainFunction, observer: Observer) -> None:
        """All is told inside the step."""

    def may_be_fused(self, x: Any) -> bool:
        return False

    def apart(self, x: Any) -> Any:
        return x

    def once(self, reduction: Reduction) -> Reduction:
        return reduction

    def outbox(self, rows: int) -> _Outbox:
        return _Outbox()

    def flag(self) -> _Flag:
        return _Flag()


BACKEND = TorchBackend()
