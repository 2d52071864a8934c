"""The order of the sums in a row: what the compiled step writes and the host reads.

A row is one float32 vector. It begins with ``HEADER``; every tensor observed then adds a group
of raw sums. Sums are taken over x / scale, so that squares neither underflow (a delta of 1e-24
is no zero) nor overflow in float32, as in BLAS's nrm2. The scale is 1, or max|x| where needed.
"""

from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

# optimizer step as step_high * STEP_BASE + step_low: float32 counts exactly only up to 2^24
STEP_BASE = 65536
HEADER = (
    *("step_high", "step_low", "loss", "trivial_loss", "loss_scale", "examples", "skipped"),
    *("penalty", "error_rate", "trivial_error_rate"),
)


class Source(StrEnum):
    """Which tensor of a subject a group of sums was taken of."""

    WEIGHT = "weight"
    GRADIENT = "gradient"
    CLIPPED = "clipped"
    UPDATE = "update"
    ACTIVATION = "activation"
    DELTA = "delta"
    INPUT = "input"
    LABEL = "label"
    OUTPUT = "output"
    DESCENT = "descent"


# In this order in the row. ``high`` and ``low`` are the largest and the smallest value. ``slope``
# (sum of phi'(z)^2) and ``spread`` (largest difference between units) are -1 where they do not
# apply. Of labels, ``whole`` counts whole numbers and ``excess`` sums the squares of ((y - nearest
# value the output can take) / scale). Of activations, ``cosines`` sums the cosines between the
# outputs of ``pairs`` of examples. Of a descent, ``against`` counts weights whose update has the
# sign opposite to their gradient's, less those whose has the same, among ``signs`` with both.
# Those of an output are means, ``count`` the labels they are of: ``error`` and ``baseline`` are of
# the prediction and of the best constant one, ``aligned`` and ``across`` squared errors of labels
# with and without the axis that the prediction has and they lack, ``off`` how far a row is from
# adding up to 1 (-1 where it need not), ``outside`` the share of predictions beyond 0 to 1 (-1
# where they may be).
MOMENTS = ("size", "scale", "sum", "square", "zeros", "non_finite")
ENDS = ("high", "low")
FIELDS: dict[Source, tuple[str, ...]] = {
    Source.WEIGHT: (*MOMENTS, *ENDS, "spread"),
    Source.GRADIENT: (*MOMENTS, *ENDS),
    Source.CLIPPED: ("size", "scale", "square"),
    Source.UPDATE: ("size", "scale", "square"),
    Source.ACTIVATION: (*MOMENTS, "slope", "cosines", "pairs"),
    Source.DELTA: ("size", "scale", "square", "non_finite"),
    Source.INPUT: (*MOMENTS, *ENDS),
    Source.LABEL: (*MOMENTS, *ENDS, "whole", "excess"),
    Source.OUTPUT: (
        *("count", "error", "baseline", "covariance", "variance", "target_variance", "square"),
        *("aligned", "across", "off", "outside"),
    ),
    Source.DESCENT: ("against", "signs"),
}


@dataclass(frozen=True, slots=True)
class Group:
    """One observed tensor: ``subject`` is the index of a layer, variable, input or output."""

    source: Source
    subject: int


@dataclass(frozen=True, slots=True)
class Place:
    """Where the groups of one source stand in a row.

    Attributes:
        subjects: int[n], the subjects that have such a group, increasing.
        owners: int[groups], which of ``subjects`` each group belongs to, increasing.
        columns: int[groups, fields], where each field stands.
    """

    subjects: NDArray[np.intp]
    owners: NDArray[np.intp]
    columns: NDArray[np.intp]


# no slots: ``places`` is kept in the instance
@dataclass(frozen=True)
class Layout:
    """The groups of a row in order, and the layers whose units' activity follows it.

    Attributes:
        groups: observed tensors; a layer called twice has two groups, merged on the host.
        activity: (layer index, number of units) of each rectifying layer in the bool vector
            that accompanies the row: True where a unit was positive for some example.
        layers: number of layers.
        variables: number of variables.
        inputs: number of the model's inputs.
        outputs: number of the model's outputs that have labels.
    """

    groups: tuple[Group, ...]
    activity: tuple[tuple[int, int], ...]
    layers: int
    variables: int
    inputs: int = 0
    outputs: int = 0

    @property
    def width(self) -> int:
        """Length of a row."""
        return len(HEADER) + sum(len(FIELDS[group.source]) for group in self.groups)

    @cached_property
    def places(self) -> dict[Source, Place]:
        """Where the groups of each source stand."""
        found: dict[Source, list[tuple[int, int]]] = {}
        at = len(HEADER)
        for group in self.groups:
            found.setdefault(group.source, []).append((group.subject, at))
            at += len(FIELDS[group.source])
        places = {}
        for source, pairs in found.items():
            subjects, starts = np.array(sorted(pairs), dtype=np.intp).T
            unique, owners = np.unique(subjects, return_inverse=True)
            places[source] = Place(unique, owners, starts[:, None] + np.arange(len(FIELDS[source])))
        return places

    @cached_property
    def activity_width(self) -> int:
        """Length of the accompanying bool vector."""
        return sum(units for _, units in self.activity)

    @cached_property
    def units(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Of the bool vector, which unit each place is of; and of each unit, its layer's index.

        A layer called twice has each of its units in two places, if both calls have as many.
        """
        begins: dict[tuple[int, int], int] = {}
        places: list[NDArray[np.intp]] = []
        owners: list[NDArray[np.intp]] = []
        for layer, units in self.activity:
            if (layer, units) not in begins:
                begins[layer, units] = sum(map(len, owners))
                owners.append(np.full(units, layer, dtype=np.intp))
            places.append(begins[layer, units] + np.arange(units))
        nothing = [np.zeros(0, np.intp)]
        return np.concatenate(places or nothing), np.concatenate(owners or nothing)
