"""What is known of the zoo's cases: measured without initwatch, not asserted.

A healthy case must reach its ``least`` skill in every seed. A sick one must stay clearly below
its twin: its best seed below the twin's worst.
"""

import json
from pathlib import Path

from tests.bench.zoo.healthy import HEALTHY
from tests.bench.zoo.runner import CASES, on_each, skills
from tests.bench.zoo.sick import SICK

TRUTH = Path(__file__).with_name("truth.json")
HEALTHY_SEEDS, SICK_SEEDS = 3, 2
MARGIN = 0.2  # skill; the seeds of a healthy case differ by less than 0.1


def measured():
    """name -> skill of each seed; without the cases that are no more, or have crashed."""
    if not TRUTH.exists():
        return {}
    known = json.loads(TRUTH.read_text(encoding="utf-8"))
    return {name: skills for name, skills in known.items() if name in CASES}


def measure(names, jobs):
    """Trains the cases, and twins not measured yet; keeps the skills; gives the crashes."""
    known = measured()
    twins = [SICK[name].twin for name in names if name in SICK]
    names = list(dict.fromkeys([*(twin for twin in twins if twin not in known), *names]))
    seeds = {name: HEALTHY_SEEDS if name in HEALTHY else SICK_SEEDS for name in names}
    results = on_each(skills, names, seeds.get, jobs)
    known |= {name: result["skills"] for name, result in results.items() if "skills" in result}
    lines = [f" {json.dumps(name)}: {json.dumps(known[name])}" for name in sorted(known)]
    TRUTH.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    return [f"{name}: {result['crash']}" for name, result in results.items() if "crash" in result]


def unlearnt(known):
    """Healthy cases that do not learn."""
    return [
        f"{case.name}: {known[case.name]}, {case.least} needed"
        for case in HEALTHY.values()
        if case.name in known and min(known[case.name]) < case.least
    ]


def harmless(known):
    """Sick cases that do no worse than their twins."""
    return [
        f"{case.name}: {known[case.name]}, twin {case.twin} {known[case.twin]}"
        for case in SICK.values()
        if {case.name, case.twin} <= known.keys()
        and max(known[case.name]) > min(known[case.twin]) - MARGIN
    ]
