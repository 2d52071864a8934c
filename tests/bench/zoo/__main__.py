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
from fnmatch import fnmatch
from pathlib import Path

from tests.bench.zoo.runner import CASES, on_each, reports
from tests.bench.zoo.score import section, summary
from tests.bench.zoo.truth import harmless, measure, measured, unlearnt

RESULTS = Path(__file__).parent.with_name("zoo.json")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", default=["*"], metavar="NAME")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--truth", action="store_true")
    options = parser.parse_args()
    names = [name for name in CASES if any(fnmatch(name, wanted) for wanted in options.only)]
    if options.truth:
        section("crashes", measure(names, options.jobs))
        section("healthy that do not learn", unlearnt(measured()))
        section("sick that do no worse than their twins", harmless(measured()))
        return
    results = dict(sorted(on_each(reports, names, lambda _: options.seeds, options.jobs).items()))
    options.out.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    print(json.dumps(summary(results)))


if __name__ == "__main__":
    main()
