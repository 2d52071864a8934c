"""Holds what initwatch says about a corpus of everyday Keras programs against what is known.

    python -m tests.bench.programs sound [--only NAME ...] [--seeds 2] [--backend jax] [--out F]
    python -m tests.bench.programs truth [--only NAME ...]
    python -m tests.bench.programs sick [--half tune|held|all] [--only PAIR ...] [--out F]
    python -m tests.bench.programs score --from F [--half tune|held|all]
    python -m tests.bench.programs applied [--sample 60]
    python -m tests.bench.programs propose

``sound`` trains every sound program watched, and prints what was said. ``truth`` trains mutants
(``program/operator``) and their sound programs without initwatch and keeps the scores in
``truth.json``; what is measured already is skipped. ``sick`` trains the mutants watched and prints
how many were found, their cause named, and the first advice right; ``score`` does so for what a
run kept. ``applied`` follows the first advice on failing mutants and trains again. ``propose``
prints a list of pairs for ``pairs.py``.

A name ending in ``*`` stands for all that begin so. The last line is one JSON object.
"""

import argparse
import json
import os
import time
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

COMMANDS = ("sound", "truth", "sick", "score", "applied", "propose")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("--only", nargs="+", default=["*"], metavar="NAME")
    parser.add_argument("--seeds", type=int, help="2 for sound, else 1")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--backend", default="tensorflow")
    parser.add_argument("--half", default="all", choices=("tune", "held", "all"))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--from", dest="source", type=Path)
    parser.add_argument("--sample", type=int, default=60)
    return parser.parse_args()


def wanted(names: list[str], options: argparse.Namespace) -> list[str]:
    return [name for name in names if any(fnmatch(name, only) for only in options.only)]


def gathered(function: Any, names: list[str], options: argparse.Namespace, *more: Any) -> Any:
    """name -> result of each, with progress; written to ``--out`` as it comes."""
    from tests.bench.programs import runner

    results: dict[str, Any] = {}
    began = time.monotonic()
    each = runner.on_each(function, names, *more, jobs=options.jobs, backend=options.backend)
    for number, (name, result) in enumerate(each, 1):
        if isinstance(result, Exception):
            result = [{"crash": f"{type(result).__name__}: {result}"}]
        results[name] = result
        if options.out:
            text = json.dumps(results, indent=1, sort_keys=True, default=str)
            options.out.write_text(text + "\n", encoding="utf-8")
        runner.progress(number, names, began, name, brief(result))
    return results


def brief(result: Any) -> str:
    """A run in a few words."""
    if not isinstance(result, list):
        return str(result)[:100]
    return " | ".join(
        run.get("crash", f"{run.get('score')} " + " ".join(run.get("printed", ())))[:100]
        for run in result
    )


def main() -> None:
    options = arguments()
    os.environ |= {"KERAS_BACKEND": options.backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    from tests.bench.programs import applied, pairs, runner, score, truth
    from tests.bench.programs.mutate import operators

    broken: dict[str, str] = {}
    programs = runner.load(broken)
    score.section("modules that cannot be imported", [f"{n}: {e}" for n, e in broken.items()])
    chances = {name: program.chance for name, program in programs.items()}
    measured = truth.known()
    verdicts = of_pairs(truth.verdicts(measured, chances))
    counts: dict[str, Any] = {}
    if options.command == "sound":
        names = [n for n, p in programs.items() if options.backend in p.backends]
        results = gathered(runner.watched, wanted(names, options), options, options.seeds or 2)
        counts = score.sound(results, programs)
    elif options.command == "truth":
        listed = [pair for pair in pairs.listed() if pair.partition("/")[0] in programs]
        stock = [n for n, p in programs.items() if p.stock and p.area != "applications"]
        names = wanted([*stock, *listed], options)
        truth.measure(names, options.jobs, options.backend)
        measured = truth.known()
        score.section("sound programs that do not learn", truth.unlearnt(measured, programs))
        counts = tally(of_pairs(truth.verdicts(measured, chances)), measured)
    elif options.command == "sick":
        names = [pair for pair in pairs.pairs(options.half) if pair in verdicts]
        results = gathered(runner.watched, wanted(names, options), options, options.seeds or 1)
        counts = score.sick(results, verdicts, operators(), pairs.half)
    elif options.command == "score":
        results = json.loads(options.source.read_text(encoding="utf-8"))
        kept = [name for name in results if options.half in ("all", pairs.half(name))]
        results = {name: results[name] for name in wanted(kept, options)}
        counts = score.sick(results, verdicts, operators(), pairs.half)
    elif options.command == "applied":
        names = wanted(applied.sample(verdicts, options.sample), options)
        results = gathered(applied.followed, names, options, options.seeds or 2)
        counts = applied.summary(results, measured, chances)
    else:
        print(pairs.propose(programs))
        return
    print(json.dumps(counts))


def of_pairs(verdicts: dict[str, str]) -> dict[str, str]:
    """Without pairs that were measured once and are no longer listed."""
    from tests.bench.programs.pairs import listed

    return {name: verdicts[name] for name in listed() if name in verdicts}


def tally(verdicts: dict[str, str], measured: dict[str, Any]) -> dict[str, int]:
    """How many of each verdict."""
    from tests.bench.programs.truth import VERDICTS

    counts = {verdict: sum(v == verdict for v in verdicts.values()) for verdict in VERDICTS}
    return counts | {"raises": sum("raises" in entry for entry in measured.values())}


if __name__ == "__main__":
    main()
