"""What the rest of capture asks of a Keras backend."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from numpy.typing import NDArray

if TYPE_CHECKING:  # reductions ask the backend for what Keras has no fast operation for
    from initwatch.capture.reductions import Reduction

TrainStep = Callable[..., Any]
# Called by ``fit`` for each batch: with an iterator (TensorFlow), state and iterator (JAX), or
# a batch (torch).
TrainFunction = Callable[..., Any]
Change = Callable[[Any], Any]  # of a batch, as a train step is given it


def same(batch: Any) -> Any:
    """No change."""
    return batch


# owner, name of a method, and what makes its stand-in of an observer and the original method
Shadow = tuple[Any, str, Callable[[Any, Callable[..., Any]], Callable[..., Any]]]


class Outbox(Protocol):
    """Carries rows out of the step; owned by the session, not by the model.

    Attributes:
        share: what a replica's loss counts in that of the step it is in, 1 if it is divided
            already.
    """

    share: float

    def put(self, row: Mapping[str, Any]) -> None:
        """Inside the step: sends one row, a few vectors by name."""

    def take(self) -> list[Mapping[str, NDArray[Any]]]:
        """On the host: the rows that were sent since the last time, oldest first.

        Of a step that several replicas shared, their vectors stand one behind the other.
        """


class Flag(Protocol):
    """A switch the host sets and the compiled step reads."""

    def set(self, value: bool) -> None:
        """On the host."""

    def value(self) -> Any:
        """Inside the step: a bool tensor."""


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """What came of a step that was rehearsed.

    Attributes:
        result: what the user's own step gave.
        equal: whether both left the same values in every variable, bit for bit.
        failure: what ours raised, None if it ran.
    """

    result: Any
    equal: bool
    failure: Exception | None


class Rehearsal(Protocol):
    """Runs a train function of ours, undoes all that it did, and runs the user's own.

    A compiler may regroup arithmetic when a tensor gets a second reader. Whether it did is
    seen in the weights: they are compared after both steps.

    Attributes:
        always: True if every observed step is to be rehearsed, because the user's own keeps
            count of its runs where nobody can reach it.
        needed: False if ours equals the user's own for sure.
    """

    always: bool
    needed: bool

    def serves(self, function: TrainFunction, *args: Any) -> bool:
        """True if it was made for this function and for data of this kind."""

    def both(self, ours: TrainFunction, own: TrainFunction, *args: Any) -> Rehearsed | None:
        """Runs both on the same coming batches; None if no batch was left."""

    def again(self, ours: TrainFunction, change: Change = same) -> Generator[None, None, None]:
        """Each ``next`` runs ours on the newest batches once more, one run behind the other.

        It begins with what the model's variables hold now, and when it is closed all that it did
        is undone. Empty if that cannot be done. ``change`` is made to each batch first.
        """

    def newest(self, ours: TrainFunction) -> Any:
        """The newest batch, None before the first."""


class Backend(Protocol):
    """One file in this folder each."""

    # raised by a train function when the data has ended; never ours to catch
    end_of_data: tuple[type[BaseException], ...]

    def refusal(self, model: Any) -> str | None:
        """Why this model's training cannot be observed, None if it can."""

    def writes(self) -> bool:
        """True in the one process that logs, where several train together."""

    def seeded(self, seed: int) -> AbstractContextManager[None]:
        """Inside it the backend's global generators begin at ``seed``; then all is as before."""

    def looking(self) -> AbstractContextManager[None]:
        """Surrounds a few steps that are all undone, none of them the user's own.

        What the backend's global generator draws inside is undone too, and no time is spent on
        making many steps fast.
        """

    def build(
        self, model: Any, train_step: TrainStep, outbox: Outbox, flag: Flag, *args: Any
    ) -> TrainFunction:
        """A train function that runs ``train_step``; the model is left as it was.

        What ``train_step`` puts into ``outbox`` and reads from ``flag`` goes through it.
        ``args`` are what it is to be called with first.
        """

    def build_model(self, model: Any, *args: Any) -> bool:
        """Makes the weights of a model from the shapes of its data; False if it cannot be done.

        Weights are those that the model's own first step would make.
        """

    def settle(self, model: Any) -> None:
        """Between two batches: sees to it that the model's variables have their values."""

    def rehearsal(
        self, model: Any, function: TrainFunction, *args: Any, wanted: bool = False
    ) -> Rehearsal | None:
        """For a train function that ``build`` made and the data of this fit.

        None if it cannot be undone, or if it needs no rehearsal, being run operation by
        operation, and none is ``wanted``.

        Raises:
            UnsupportedError: if training would change whether it is rehearsed or not.
        """

    def observed(self, observer: Any, step: TrainStep, *args: Any, **kwargs: Any) -> Any:
        """Runs ``step``, during which shadows are on; the observer's tensors are those outside."""

    def reading(self) -> AbstractContextManager[None]:
        """Surrounds our own arithmetic inside the step: it has no part in its gradients."""

    def place(self) -> Any:
        """A token for the graph that is being built; unequal inside loops and branches."""

    def shadows(self, observer: Any) -> list[Shadow]:
        """What is shadowed while a step is observed.

        Besides layers' ``call`` and the model's ``compute_loss``: what this backend's optimizers
        are applied by, and whatever else it takes to see its steps.
        """

    def double(self) -> AbstractContextManager[None]:
        """On the host: inside it, tensors may be float64."""

    def tap(self, x: Any, on_gradient: Callable[[Any], None] | None, inputs: list[Any]) -> Any:
        """The identity of ``x``, what a layer made of ``inputs``.

        ``on_gradient`` is handed dL/dx; None: it is not wanted.
        """

    def is_tensor(self, x: Any) -> bool:
        """True for a tensor of this backend (not a variable, not a NumPy array)."""

    def read(self, variable: Any) -> Any:
        """The value of a Keras variable (or tensor) at this point of the step."""

    def of_all_replicas(self, gradients: list[Any]) -> list[Any]:
        """The gradients of the step from those of one replica: their sum, each dense."""

    def of_all_examples(self, x: Any) -> Any:
        """[batch, ...] of all replicas from that of one."""

    def dense(self, gradient: Any) -> Any:
        """A gradient as a dense tensor: sparse rows are summed into the variable's shape."""

    def marks(self, x: Any) -> list[Any]:
        """The objects by whose id ``origins`` knows ``x`` again."""

    def origins(self, x: Any, known: dict[int, int]) -> Origins:
        """Which of the ``known`` tensors (id of a mark -> index) ``x`` was computed from."""

    def may_be_fused(self, x: Any) -> bool:
        """True if the compiler may merge what computes ``x`` with the one that reads it."""

    def apart(self, x: Any) -> Any:
        """A tensor equal to ``x``; reading it leaves the compiler free to regroup ``x``."""

    def logits_of(self, prediction: Any) -> Any:
        """What a softmax or sigmoid made this prediction of; None where that is not known.

        Where it is known, Keras's cross-entropies take it in place of the prediction.
        """

    def sum_of_squares(self, x: Any) -> Any:
        """sum(x^2) of a float32 tensor, in one pass over it where the backend can."""

    def count_nonzero(self, x: Any) -> Any:
        """How many elements of a float32 tensor are not 0, as float32, if all are finite.

        Never 0 where one is not.
        """

    def order(self, arguments: list[tuple[Any, ...]]) -> list[int]:
        """The order in which ``each`` gives out what it is asked for: indices of arguments."""

    def each(self, reduction: Reduction, arguments: list[tuple[Any, ...]]) -> tuple[list[int], Any]:
        """The reduction of each tuple of matrices, traced and compiled as seldom as can be.

        Returns:
            the order, and in it the results one behind the other, a vector.
        """

    def outbox(self, rows: int) -> Outbox:
        """A new one, for at most so many rows between one ``take`` and the next."""

    def flag(self) -> Flag:
        """A new switch, off."""


class Origins:
    """What a tensor was computed from: nearest known tensors, the input, operations between.

    ReLU, tanh and sigmoid are named ``Relu``, ``Tanh`` and ``Sigmoid`` by every backend.
    """

    __slots__ = ("from_input", "known", "operations")

    def __init__(self, known: set[int], from_input: bool, operations: set[str]) -> None:
        self.known = known
        self.from_input = from_input
        self.operations = operations


def drawn(iterator: Iterator[Any], count: int) -> tuple[list[Any], Exception | None]:
    """Up to ``count`` batches, and what the data raised instead of the next, None if nothing.

    Steps that came before an error of the data are the user's and are to be run.

    Raises:
        Exception: the data's own, if it comes before the first batch.
    """
    batches: list[Any] = []
    try:
        for batch in itertools.islice(iterator, count):
            batches.append(batch)
    except Exception as error:
        if not batches:
            raise
        return batches, error
    return batches, None
