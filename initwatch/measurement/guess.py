"""What a constant guess loses, of all labels seen: those of a small batch say little about it."""

import math

from initwatch.measurement.moments import Measurement
from initwatch.records.output import Output
from initwatch.records.statistic import Statistic

# Examples in a batch below which all labels seen tell more than the batch's own. Of four labels
# the unbiased variance is a third off where the batches are drawn so that each is balanced.
FEW = 32


class Guess:
    """The loss of the best constant prediction, step by step.

    Args:
        output: of one unit under a squared error or a binary cross-entropy, whose labels all
            count alike, those of small batches are taken together; else every batch stands for
            itself.
    """

    def __init__(self, output: Output) -> None:
        alone = output.units == 1 and not output.weighted
        self._loss = output.loss if alone else ""
        self._examples = 0
        self._sum = self._square = 0.0

    def of(self, step: Measurement) -> float:
        """That loss as far as the labels up to this step tell, NaN where it is not known."""
        own = step.trivial_loss
        kinds = ("mean_squared_error", "binary_crossentropy")
        if self._loss not in kinds or Statistic.LABEL_MEAN not in step.values:
            return own
        mean = float(step.values[Statistic.LABEL_MEAN][0])
        std = float(step.values[Statistic.LABEL_STD][0])
        if not (math.isfinite(own) and math.isfinite(mean) and math.isfinite(std)):
            return own
        self._examples += step.examples
        self._sum += step.examples * mean
        self._square += step.examples * (std**2 + mean**2)
        if step.examples >= FEW or self._examples < FEW:
            return own
        mean = self._sum / self._examples
        if self._loss == "mean_squared_error":
            variance = max(self._square / self._examples - mean**2, 0.0)
            return variance * self._examples / (self._examples - 1)
        if not 0.0 < mean < 1.0:
            return own
        entropy = -mean * math.log(mean) - (1.0 - mean) * math.log(1.0 - mean)
        # Miller and Madow's correction, as for a batch (Miller 1955)
        return min(entropy + 0.5 / self._examples, math.log(2.0))


class OneLabel:
    """Counts examples for as long as all of their labels are one number.

    Attributes:
        examples: how many; 0 once two have differed, or where labels are not measured.
    """

    def __init__(self) -> None:
        self.examples = 0
        self._label = math.nan
        self._differ = False

    def add(self, step: Measurement) -> None:
        """Adds the labels of one step."""
        if Statistic.LABEL_MIN not in step.values:
            return
        low = float(step.values[Statistic.LABEL_MIN][0])
        high = float(step.values[Statistic.LABEL_MAX][0])
        if math.isnan(self._label):
            self._label = low
        self._differ |= not low == high == self._label
        self.examples = 0 if self._differ else self.examples + step.examples
