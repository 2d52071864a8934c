"""Holds what initwatch says about the zoo's trainings against what is known of them.

    python -m tests.bench.zoo [--only NAME ...] [--seeds 3] [--jobs 2] [--out tests/bench/zoo.json]
    python -m tests.bench.zoo --truth [--only NAME ...]

The first trains every case under ``InitWatch`` and prints what was missed, what was reported with
the wrong layer, and what was said about healthy runs. The file it writes is sorted, and each
report is a line of its own: a change in alarms is a diff.

``--truth`` trains without initwatch, and checks that the healthy cases learn in 3 seeds and that
each sick one does clearly worse than its twin in 2. It keeps the skills in ``truth.json`` (of the
cases trained now; the others' stay).

A name ending in ``*`` stands for all that begin so.
"""

import argparse
import json
import statistics
from collections import Counter
from fnmatch import fnmatch
from pathlib import Path

from tests.bench.zoo.cases import SYMPTOMS
from tests.bench.zoo.healthy import HEALTHY
from tests.bench.zoo.runner import CASES, on_each, reports, skills
from tests.bench.zoo.sick import SICK

TRUTH = Path(__file__).with_name("truth.json")
RESULTS = Path(__file__).parent.with_name("zoo.json")
HEALTHY_SEEDS, SICK_SEEDS = 3, 2
MARGIN = 0.2  # skill: seeds of one case differ by 0.05 or so


def chosen(patterns):
    return [name for name in CASES if not patterns or any(fnmatch(name, p) for p in patterns)]


def saved(path, results):
    path.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def section(title, lines):
    print(f"\n{title}: {len(lines)}")
    for line in lines:
        print(f"  {line}")


# ---------------------------------------------------------------- truth


def check_truth(names, jobs):
    needed = [SICK[name].twin for name in names if name in SICK]
    known = json.loads(TRUTH.read_text(encoding="utf-8")) if TRUTH.exists() else {}
    names = list(dict.fromkeys([*(n for n in needed if n not in known), *names]))
    now = on_each(
        skills, names, lambda name: HEALTHY_SEEDS if name in HEALTHY else SICK_SEEDS, jobs
    )
    known = {name: result for name, result in (known | now).items() if name in CASES}
    saved(TRUTH, known)
    section("crashed", [f"{n}: {known[n]['crash']}" for n in names if "crash" in known[n]])
    measured = {name: known[name]["skills"] for name in known if "skills" in known[name]}
    unlearnt = [
        f"{name}: {measured[name]}, {HEALTHY[name].least} needed"
        for name in names
        if name in HEALTHY and name in measured and min(measured[name]) < HEALTHY[name].least
    ]
    section("healthy that do not learn", unlearnt)
    harmless = [
        f"{name}: {measured[name]}, twin {SICK[name].twin} {measured[SICK[name].twin]}"
        for name in names
        if name in SICK
        and {name, SICK[name].twin} <= measured.keys()
        and max(measured[name]) > min(measured[SICK[name].twin]) - MARGIN
    ]
    section("sick that do no worse than their twin", harmless)


# ---------------------------------------------------------------- what is said


def alarms(found):
    return [f for f in found if f["severity"] != "info"]


def matching(case, found):
    return [f for f in alarms(found) if f["symptom"] in case.symptoms]


def said(finding):
    return "{severity} {symptom} [{layer}] at step {step}: {message}".format(**finding)


def summary(results):
    """Prints what the results mean; gives the totals."""
    crashes = [f"{n}: {r['crash']}" for n, r in results.items() if "crash" in r]
    problems = [f"{n}: {p}" for n, r in results.items() for p in r.get("problems", [])]
    runs = [(n, s, f) for n, r in results.items() for s, f in enumerate(r.get("found", []))]
    planted, recalled, exact = Counter(), Counter(), Counter()
    missed, misplaced, false, steps = [], [], [], []
    for name, seed, found in runs:
        if name in HEALTHY:
            false += [f"{name} ({seed}): {said(f)}" for f in alarms(found)]
            continue
        case = SICK[name]
        matches = matching(case, found)
        planted[case.planted] += 1
        recalled[case.planted] += bool(matches)
        exact[case.planted] += any(f["symptom"] == case.planted for f in matches)
        if not matches:
            instead = ", ".join(f["symptom"] for f in alarms(found)) or "nothing"
            missed.append(f"{name} ({seed}): {case.planted}: {case.cause}; said: {instead}")
            continue
        if case.layers and not any(case.names(f["layer"]) for f in matches):
            layers = ", ".join(f["layer"] or "no layer" for f in matches)
            misplaced.append(f"{name} ({seed}): {layers}; planted in {', '.join(case.layers)}")
        if case.initialisation:
            steps.append((min(f["step"] for f in matches), name))
    section("crashes", crashes)
    section("faults inside initwatch", problems)
    section("false alarms", false)
    section("missed", missed)
    section("found with another layer", misplaced)
    print("\nrecall by symptom (any acceptable symptom; in brackets: the one planted)")
    for symptom in SYMPTOMS:
        if planted[symptom]:
            of = planted[symptom]
            print(f"  {symptom:22} {recalled[symptom]:3}/{of:<3} ({exact[symptom]}/{of})")
    section("first report of initialisation faults", [f"step {s:3} {n}" for s, n in sorted(steps)])
    healthy_runs = sum(name in HEALTHY for name, _, _ in runs)
    alarmed = {(name, seed) for name, seed, f in runs if name in HEALTHY and alarms(f)}
    return {
        "healthy_runs": healthy_runs,
        "sick_runs": len(runs) - healthy_runs,
        "found": sum(recalled.values()),
        "missed": len(missed),
        "wrong_layer": len(misplaced),
        "healthy_runs_with_false_alarm": len(alarmed),
        "crashes": len(crashes),
        "problems": len(problems),
        "median_step_of_initialisation_faults": statistics.median(s for s, _ in steps)
        if steps
        else None,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--truth", action="store_true")
    options = parser.parse_args()
    names = chosen(options.only)
    if options.truth:
        check_truth(names, options.jobs)
        return
    results = on_each(reports, names, lambda name: options.seeds, options.jobs)
    saved(options.out, results)
    print(json.dumps(summary(dict(sorted(results.items())))))


if __name__ == "__main__":
    main()
