"""The grammar of tags: the only module that makes one."""

from __future__ import annotations

import hashlib
import json

from tensorboard.compat.proto.summary_pb2 import DATA_CLASS_TENSOR, SummaryMetadata

from initwatch.records.statistic import Statistic

PLUGIN_NAME = "initwatch"
RUN_FOLDER = "initwatch"  # inside log_dir: a run of its own beside keras.callbacks.TensorBoard's
FILE_SUFFIX = "initwatch"  # of every event file of ours
SCHEMA = 1  # of what the tab reads; a newer one is refused

FINDINGS_TAG = f"{PLUGIN_NAME}/findings"
ADVICE_TAG = f"{PLUGIN_NAME}/advice"
CHANGES_TAG = f"{PLUGIN_NAME}/changes"
REPORT_TAG = f"{PLUGIN_NAME}/report"
RANKING_TAG = f"{PLUGIN_NAME}/ranking"

# What the tab reads. The first three carry a digest of the model's description: a run that is
# resumed with other layers has other tags, since readers take the first metadata of a tag only.
MODEL, STEPS, THEORY = "model", "steps", "theory"
STATE_TAG = f"{PLUGIN_NAME}/state"  # the whole report, each time it changes


def scalar_tag(statistic: Statistic, path: str = "") -> str:
    """``initwatch/<quantity>/<layer path>``; a quantity of the whole step has no path."""
    return f"{PLUGIN_NAME}/{statistic.value}/{path}".rstrip("/")


def histogram_tag(quantity: str, path: str) -> str:
    """``initwatch/<quantity>/<layer or variable path>``."""
    return f"{PLUGIN_NAME}/{quantity}/{path}"


def comparison_tag(figure: str) -> str:
    """``initwatch/comparison/<figure>``: a figure of one run among several."""
    return f"{PLUGIN_NAME}/comparison/{figure}"


def chart_pattern(statistic: Statistic) -> str:
    """A regular expression that matches the tags of a statistic, for custom-scalar charts."""
    return f"^{PLUGIN_NAME}/{statistic.value}(/.*)?$"


def digest_of(description: object) -> str:
    """Eight hexadecimal digits that tell one model's description from another's."""
    text = json.dumps(description, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=4).hexdigest()


def tab_tag(kind: str, digest: str) -> str:
    """``initwatch/<kind>/<digest>``: kind is ``MODEL``, ``STEPS`` or ``THEORY``."""
    return f"{PLUGIN_NAME}/{kind}/{digest}"


def parsed_tab_tag(tag: str) -> tuple[str, str] | None:
    """(kind, digest) of a tag that ``tab_tag`` made, None of any other."""
    parts = tag.split("/")
    if len(parts) != 3 or parts[0] != PLUGIN_NAME or parts[1] not in (MODEL, STEPS, THEORY):
        return None
    return parts[1], parts[2]


def tab_metadata() -> SummaryMetadata:
    """What says that a tensor is the tab's; without the data class no reader lists it."""
    content = json.dumps({"schema": SCHEMA}).encode()
    plugin = SummaryMetadata.PluginData(plugin_name=PLUGIN_NAME, content=content)
    return SummaryMetadata(plugin_data=plugin, data_class=DATA_CLASS_TENSOR)
