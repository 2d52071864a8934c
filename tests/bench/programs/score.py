"""What the reports are worth: found, cause named, advice right, and false alarms."""

import re
from collections.abc import Callable, Iterable
from typing import Any

TITLE = re.compile(r"^\s*[╭┌+].*?\b(IW\d{3})\b")
END = re.compile(r"^\s*[╰└+].*\b(error|warning|info), step \d+")
WITHDRAWN = re.compile(r"\b(IW\d{3})\b.*\bwithdrawn\b")
Result = dict[str, Any]


def said(text: str) -> list[str]:
    """Codes printed as warning or error on the console and not withdrawn."""
    out: dict[str, None] = {}
    code = ""
    for line in text.splitlines():
        if found := TITLE.search(line):
            code = found[1]
        elif (found := END.search(line)) and code:
            if found[1] != "info":
                out[code] = None
            code = ""
        elif found := WITHDRAWN.search(line):
            out.pop(found[1], None)
    return list(out)


def section(title: str, lines: list[str]) -> None:
    print(f"\n{title}: {len(lines)}")
    for line in lines:
        print(f"  {line}")


def alarms(run: Result) -> list[Result]:
    """Findings of severity warning or error."""
    return [finding for finding in run.get("findings", []) if finding["severity"] != "info"]


def sentence(finding: Result) -> str:
    layers = ", ".join(finding["layers"])
    return "{severity} {code} {symptom} [{0}] at step {step}: {message}".format(layers, **finding)


def runs_of(results: dict[str, Any]) -> Iterable[tuple[str, int, Result]]:
    """(name, seed, run); a process that died is a run that crashed."""
    for name in sorted(results):
        for seed, run in enumerate(results[name]):
            yield name, seed, run


def faults(results: dict[str, Any]) -> dict[str, list[str]]:
    """What is wrong with initwatch or the program, whatever was found."""
    runs = list(runs_of(results))
    return {
        "crashes": [f"{n} ({s}): {r['crash']}" for n, s, r in runs if "crash" in r],
        "faults of initwatch's own": [
            f"{n} ({s}): {text}"
            for n, s, r in runs
            for text in r.get("problems") or ["printed a fault"] * bool(r.get("fault"))
            if "has no trainable weights" not in text  # the mutant's doing
        ],
    }


# ------------------------------------------------------------------------------ sound programs


def sound(results: dict[str, Any], programs: dict[str, Any]) -> dict[str, Any]:
    """Prints what was said of sound programs; gives the counts."""
    runs = list(runs_of(results))
    wrong = faults(results)
    ended = {(n, s): alarms(r) for n, s, r in runs if alarms(r)}
    printed = {(n, s): r["printed"] for n, s, r in runs if r.get("printed")}
    unlearnt = [
        f"{n} ({s}): {r['score']}, {programs[n].learned} needed"
        for n, s, r in runs
        if r.get("score", 1e9) < programs[n].learned
    ]
    for title, lines in wrong.items():
        section(title, lines)
    section("has not learned", unlearnt)
    section(
        "alarms at the end",
        [f"{n} ({s}): {sentence(f)}" for (n, s), found in ended.items() for f in found],
    )
    section(
        "printed and not withdrawn",
        [f"{n} ({s}): {' '.join(codes)}" for (n, s), codes in printed.items()],
    )
    return {
        "programs": len(results),
        "runs": len(runs),
        "runs_with_alarm": len(ended),
        "runs_with_printed_alarm": len(printed),
        "runs_with_either": len(ended.keys() | printed.keys()),
        "faults": len(wrong["faults of initwatch's own"]),
        "crashes": len(wrong["crashes"]),
        "not_learned": len(unlearnt),
        "seconds": round(sum(r.get("seconds", 0.0) for _, _, r in runs)),
    }


# ------------------------------------------------------------------------------ mutants


def judged(run: Result, operator: Any) -> dict[str, bool]:
    """Whether it was found, its cause named, and the first advice right."""
    found = alarms(run)
    first = next((item["kind"] for item in run.get("advice", [])), "")
    return {
        "found": bool(found),
        "named": any(finding["symptom"] in operator.symptoms for finding in found),
        "advised": bool(found) and first in operator.advice,
    }


def table(title: str, rows: list[tuple[str, dict[str, bool]]]) -> None:
    """Found, named and advised, counted by the rows' first entry."""
    print(f"\n{title:28} runs  found  cause named  advice right")
    for key in dict.fromkeys(key for key, _ in rows):
        marks = [mark for name, mark in rows if name == key]
        counts = [sum(mark[k] for mark in marks) for k in ("found", "named", "advised")]
        print("  {:26} {:4}  {:5}  {:11}  {:12}".format(key, len(marks), *counts))


def short(run: Result) -> str:
    what = ", ".join(f"{f['code']} {f['symptom']}" for f in alarms(run)) or "nothing"
    first = next((f"{a['kind']}: {a['code']}" for a in run.get("advice", [])), "no advice")
    return f"said: {what}; first advice: {first}"


def sick(
    results: dict[str, Any],
    verdicts: dict[str, str],
    operators: dict[str, Any],
    which: Callable[[str], str],
) -> dict[str, Any]:
    """Prints what was said of the mutants; gives the counts. ``which``: pair -> half."""
    runs = [
        (name, operators[name.partition("/")[2]], run)
        for name, _, run in runs_of(results)
        if name in verdicts
    ]
    marks = [(name, item, run, judged(run, item)) for name, item, run in runs]
    harmed = [row for row in marks if verdicts[row[0]] in ("fails", "worse")]
    wrong = faults(results)
    for title, lines in wrong.items():
        section(title, lines)
    _misses(harmed, verdicts)
    alarmed = _false_alarms(marks, verdicts)
    for half in ("tune", "held"):
        rows = [(verdicts[n], mark) for n, _, _, mark in harmed if which(n) == half]
        table(f"half {half}", sorted(rows, key=lambda row: row[0]))
    table("family", sorted([(o.family, m) for _, o, _, m in harmed], key=lambda row: row[0]))
    table("operator", sorted([(o.name, m) for _, o, _, m in harmed], key=lambda row: row[0]))
    counts: dict[str, Any] = {}
    for verdict in ("fails", "worse"):
        of = [mark for name, _, _, mark in harmed if verdicts[name] == verdict]
        counts[verdict] = len(of)
        for key in ("found", "named", "advised"):
            counts[f"{verdict}_{key}"] = sum(mark[key] for mark in of)
    return (
        counts
        | alarmed
        | {
            "pairs": len(results),
            "faults": len(wrong["faults of initwatch's own"]),
            "crashes": len(wrong["crashes"]),
            "seconds": round(sum(run.get("seconds", 0.0) for _, _, run in runs)),
        }
    )


def _misses(harmed: list[Any], verdicts: dict[str, str]) -> None:
    def lines(wanted: Callable[[dict[str, bool]], bool]) -> list[str]:
        return [
            f"{name} ({verdicts[name]}; {item.doc}): {short(run)}"
            for name, item, run, mark in harmed
            if wanted(mark)
        ]

    section("missed", lines(lambda m: not m["found"]))
    section("found, another cause named", lines(lambda m: m["found"] and not m["named"]))
    section("found, other advice first", lines(lambda m: m["found"] and not m["advised"]))


def _false_alarms(marks: list[Any], verdicts: dict[str, str]) -> dict[str, int]:
    """Alarms at mutants that do no harm: changes meant to be sound, and faults that were borne."""
    counts = {}
    for key, meant in (("sound_changes", True), ("borne_faults", False)):
        rows = [m for m in marks if verdicts[m[0]] == "no harm" and m[1].harmless == meant]
        lines = [f"{n} ({o.doc}): {short(run)}" for n, o, run, mark in rows if mark["found"]]
        section(f"alarms at {key.replace('_', ' ')}", lines)
        counts |= {key: len(rows), f"{key}_alarmed": len(lines)}
        if meant:
            counts["sound_changes_printed"] = sum(bool(run.get("printed")) for _, _, run, _ in rows)
    return counts
