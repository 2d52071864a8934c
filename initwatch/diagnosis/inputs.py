"""What several rules ask of the inputs."""

from __future__ import annotations

from initwatch.records import History

# Layers that bring their input to a size of their own, at whose output the first weights begin.
_SCALES = frozenset(
    "Rescaling Normalization BatchNormalization LayerNormalization GroupNormalization "
    "UnitNormalization RMSNormalization Discretization Hashing CategoryEncoding".split()
)


def brought_to_size(history: History) -> bool:
    """True if a layer before the first weights brings what they see to size, or looks it up."""
    for layer in history.layers:
        if layer.class_name == "Embedding" or layer.class_name in _SCALES:
            return True
        if layer.kernel is not None:
            return False
    return False
