"""The grammar of tags: the only module that makes one."""

from __future__ import annotations

from initwatch.records.statistic import Statistic

PLUGIN_NAME = "initwatch"
RUN_FOLDER = "initwatch"  # inside log_dir: a run of its own beside keras.callbacks.TensorBoard's

FINDINGS_TAG = f"{PLUGIN_NAME}/findings"
ADVICE_TAG = f"{PLUGIN_NAME}/advice"
CHANGES_TAG = f"{PLUGIN_NAME}/changes"
REPORT_TAG = f"{PLUGIN_NAME}/report"
RANKING_TAG = f"{PLUGIN_NAME}/ranking"


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
