"""What the rest of capture asks of a Keras backend."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from numpy.typing import NDArray

from initwatch.capture.reductions import Reduction

TrainStep = Callable[..., Any]
TrainFunction = Callable[[Any], Any]


class Register(Protocol):
    """A shift register of rows on the device, owned by the session, not by the model."""

    def push(self, row: Any) -> None:
        """Inside the step: appends one row, dropping the oldest."""

    def add_one(self) -> None:
        """Inside the step: counts one up in every cell."""

    def read(self, rows: int) -> NDArray[Any]:
        """On the host: the newest ``rows`` rows, oldest first."""


class Flag(Protocol):
    """A switch the host sets and the compiled step reads."""

    def set(self, value: bool) -> None:
        """On the host."""

    def when(self, action: Callable[[], None]) -> None:
        """Inside the step: runs ``action`` if the switch is on."""


class Rehearsal(Protocol):
    """Lets a train function run on coming batches and then undoes all that it did."""

    def serves(self, function: TrainFunction, iterator: Any) -> bool:
        """True if it was made for this function and for data of this kind."""

    def take(self, iterator: Any, batches: int) -> bool:
        """Takes up to that many batches out of ``iterator``; False if none was left."""

    def play(self) -> Any:
        """An iterator over the batches taken, from the first one."""

    def state(self) -> Any:
        """The value of every variable that the function touches, ours excepted."""

    def put_back(self, state: Any) -> None:
        """Gives those variables the values of ``state``."""

    def equal(self, first: Any, second: Any) -> bool:
        """True if two states are the same bit for bit."""


class Backend(Protocol):
    """One file in this folder each."""

    # raised by a train function when the data has ended; never ours to catch
    end_of_data: tuple[type[BaseException], ...]

    def refusal(self, model: Any) -> str | None:
        """Why this model's training cannot be observed, None if it can."""

    def build(self, model: Any, train_step: TrainStep) -> TrainFunction:
        """A train function that runs ``train_step``; the model is left as it was."""

    def build_model(self, model: Any, iterator: Any) -> bool:
        """Makes the weights of a model from the shapes of its data; False if it cannot be done.

        Weights are those that the model's own first step would make.
        """

    def rehearsal(self, function: TrainFunction, iterator: Any) -> Rehearsal | None:
        """For a train function that ``build`` made and the data of this fit.

        None if what it does needs no rehearsal, being run operation by operation, or if it
        cannot be undone.
        """

    def place(self) -> Any:
        """A token for the graph that is being built; differs inside loops and branches."""

    def tap(self, x: Any, on_gradient: Callable[[Any], None]) -> Any:
        """The identity of ``x``; ``on_gradient`` is handed dL/dx when it is computed."""

    def is_tensor(self, x: Any) -> bool:
        """True for a tensor of this backend (not a variable, not a NumPy array)."""

    def read(self, variable: Any) -> Any:
        """The value of a Keras variable (or tensor) at this point of the step."""

    def dense(self, gradient: Any) -> Any:
        """A gradient as a dense tensor: sparse rows are summed into the variable's shape."""

    def origins(self, x: Any, known: dict[int, int]) -> Origins:
        """Which of the ``known`` tensors (id -> index) ``x`` was computed from."""

    def may_be_fused(self, x: Any) -> bool:
        """True if the compiler may merge what computes ``x`` with the one that reads it."""

    def apart(self, x: Any) -> Any:
        """A tensor equal to ``x``; reading it leaves the compiler free to regroup ``x``."""

    def once(self, reduction: Reduction) -> Reduction:
        """The same function of matrices, traced once for all of them where that is possible."""

    def register(self, rows: int, width: int, dtype: str) -> Register:
        """A new register; may be called inside a trace."""

    def flag(self) -> Flag:
        """A new switch, off."""


class Origins:
    """What a tensor was computed from: nearest known tensors, the input, operations between."""

    __slots__ = ("from_input", "known", "operations")

    def __init__(self, known: set[int], from_input: bool, operations: set[str]) -> None:
        self.known = known
        self.from_input = from_input
        self.operations = operations
