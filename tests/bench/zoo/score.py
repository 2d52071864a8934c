"""What the reports on the zoo are worth: found, missed, misplaced, and false alarms."""

import statistics
from collections import Counter

from tests.bench.zoo.cases import SYMPTOMS
from tests.bench.zoo.healthy import HEALTHY
from tests.bench.zoo.sick import SICK


def section(title, lines):
    print(f"\n{title}: {len(lines)}")
    for line in lines:
        print(f"  {line}")


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
