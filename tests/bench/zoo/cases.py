"""What a case of the zoo is: a training, and what is known of it."""

from dataclasses import dataclass, field
from fnmatch import fnmatch

from tests.bench.zoo.training import Training

SYMPTOMS = tuple(
    """
    vanishing_gradient exploding_gradient non_finite zero_gradient dead_relu saturated_activation
    vanishing_signal exploding_signal symmetric_units initializer_mismatch stalled_loss
    diverging_loss oscillating_loss update_too_small update_too_large unchanged_weights
    unscaled_input output_loss_mismatch
    """.split()
)


@dataclass(frozen=True, kw_only=True)
class Healthy:
    """A training that learns: a warning or an error about it is a false alarm.

    Attributes:
        least: skill that each seed must reach for it to count as healthy (0: a constant guess).
    """

    name: str
    training: Training
    least: float = 0.5


@dataclass(frozen=True, kw_only=True)
class Sick:
    """The twin of a healthy training with one fault planted.

    Attributes:
        twin: name of the healthy one.
        planted: the symptom that stands for this fault in the count by symptom.
        symptoms: all that would be right to report.
        layers: names, or patterns of names, of the layers that may stand first in such a
            report; empty if the fault is in no layer.
        initialisation: whether the fault is in how weights are initialised.
        cause: what was done, in one line.
    """

    name: str
    twin: str
    training: Training
    planted: str
    symptoms: frozenset[str] = field(default_factory=frozenset)
    layers: frozenset[str] = field(default_factory=frozenset)
    initialisation: bool = False
    cause: str

    def names(self, path):
        """Whether a report that begins with the layer of this path names an acceptable one."""
        parts = path.split("/")
        return any(fnmatch(part, pattern) for part in parts for pattern in self.layers)
