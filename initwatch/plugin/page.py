"""The tab as a page that stands by itself: ``initwatch report LOGDIR --html FILE``.

The page holds the tab's own modules and style sheet and what the routes of http_api.md would
answer. It needs no server and no network: a browser refuses it both. Its modules are ``data:`` URLs
behind an import map, which Chrome 89, Firefox 108 and Safari 16.4 are the first to read.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from initwatch.plugin.answers import gathered
from initwatch.plugin.log import RunLog

STATIC = Path(__file__).parent / "static"
# About 7 bytes each: a page of some MB, which a browser opens at once and a mail can carry.
MOST_NUMBERS = 500_000
MOST_STEPS, LEAST_STEPS = 500, 20
MOST_HISTOGRAMS = 8  # of one tensor

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'unsafe-inline' \
data:; style-src 'unsafe-inline'; img-src data:">
<meta name="viewport" content="width=device-width">
<title>initwatch: {title}</title>
<style>
{style}
</style>
<script type="importmap">{modules}</script>
</head>
<body>
<noscript>This report draws itself with JavaScript.</noscript>
<script type="application/json" id="initwatch-data">{data}</script>
<script type="module">
import {{ report }} from "initwatch/index.js";
report(JSON.parse(document.getElementById("initwatch-data").textContent));
</script>
</body>
</html>
"""


def page(logs: Sequence[RunLog]) -> str:
    """One HTML file with everything in it.

    Long or deep runs are thinned out to about ``MOST_NUMBERS`` numbers; the page says so.

    Args:
        logs: the runs to show, at least one.
    """
    columns = sum(len(log.model["layers"]) * len(log.model["quantities"]) for log in logs)
    steps = max(LEAST_STEPS, min(MOST_STEPS, MOST_NUMBERS // max(columns, 1)))
    data = gathered(logs, steps)
    for by_layer in data["histograms"].values():
        for path, histograms in by_layer.items():
            by_layer[path] = thinned(histograms)
    data["note"] = _note(data)
    return _PAGE.format(
        title=_in_markup(", ".join(log.run for log in logs)),
        style=(STATIC / "style.css").read_text(encoding="utf-8"),
        modules=_in_script({"imports": modules()}),
        data=_in_script(data),
    )


def modules() -> dict[str, str]:
    """``initwatch/<file>`` to a data: URL of each of the tab's modules.

    A module behind a ``data:`` URL has no folder: what it imports as ``./file.js`` is looked up as
    ``initwatch/file.js``.
    """
    found = {}
    for path in sorted(STATIC.glob("*.js")):
        text = path.read_text(encoding="utf-8")
        text = re.sub(r'(from|import) "\./([\w.]+)"', r'\1 "initwatch/\2"', text)
        code = base64.b64encode(text.encode()).decode()
        found[f"initwatch/{path.name}"] = f"data:text/javascript;charset=utf-8;base64,{code}"
    return found


def thinned(histograms: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """At most ``MOST_HISTOGRAMS`` of each tensor, first and last among them, evenly between."""
    series: dict[tuple[str, str | None], list[dict[str, Any]]] = {}
    for histogram in histograms:
        series.setdefault((histogram["quantity"], histogram["variable"]), []).append(histogram)
    kept = []
    for of_one in series.values():
        count = min(len(of_one), MOST_HISTOGRAMS)
        kept += [of_one[round(i)] for i in np.linspace(0, len(of_one) - 1, count)]
    return kept


def _note(data: dict[str, Any]) -> str:
    parts = []
    for summary in data["runs"]:
        shown = len(data["run"][summary["run"]]["steps"])
        if shown < summary["steps"]:
            parts.append(f"{shown} of {summary['steps']} logged steps of {summary['run']}")
    return f"This report holds {', '.join(parts)}." if parts else ""


def _in_script(content: Any) -> str:
    """JSON that cannot end the script element it stands in."""
    text = json.dumps(content, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")


def _in_markup(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")
