"""Follows the first advice on failing mutants, and trains again without initwatch.

The mutant is trained watched; its first advice is applied to the mutant built anew, which is then
trained under each seed. It helps if the median skill is 0.2 or more (it fails no longer), or rises
by 0.3. What cannot be applied by a program is counted by itself.
"""

import statistics
from collections import Counter
from typing import Any

from tests.bench.programs import runner
from tests.bench.programs.mutate_by_advice import follow
from tests.bench.programs.pairs import half, rank
from tests.bench.programs.score import section
from tests.bench.programs.truth import FAILS, skill

RISE = 0.3
Result = dict[str, Any]


def sample(verdicts: dict[str, str], number: int) -> list[str]:
    """Failing mutants, the same each time, of as many operators as there are."""
    failing = sorted((n for n, v in verdicts.items() if v == "fails"), key=lambda n: rank(n + "!"))
    seen: Counter[str] = Counter()
    turns = []
    for name in failing:
        operator = name.partition("/")[2]
        turns.append((seen[operator], rank(name + "!"), name))
        seen[operator] += 1
    return [name for _, _, name in sorted(turns)[:number]]


def followed(name: str, seeds: int) -> list[Result]:
    """Score of each seed with the first advice followed; one entry that says why not if none."""
    import contextlib
    import io

    import initwatch

    watch = initwatch.InitWatch(console=False)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(Exception):
        runner.trained(name, 0, watch)
    report = watch.report
    if not report.advice:
        return [{"outcome": "no advice", "kind": ""}]
    first = report.advice[0]
    about = {"kind": first.kind, "code": first.code}
    try:
        return [
            {"score": round(runner.trained(name, s, mend=lambda r: follow(r, report)), 4)} | about
            for s in range(seeds)
        ]
    except runner.DoesNotApplyError:
        return [{"outcome": "not applicable"} | about]
    except Exception as error:
        text = " ".join(str(error).split())[:160]
        return [{"outcome": f"raises {type(error).__name__}: {text}"} | about]


def summary(
    results: dict[str, Any], measured: dict[str, Any], chances: dict[str, float]
) -> dict[str, Any]:
    """Prints what following the advice was worth; gives the counts."""
    outcomes, lines = {}, []
    for name in sorted(results):
        runs, program = results[name], name.partition("/")[0]
        sound, chance = measured[program]["scores"], chances[program]
        before = statistics.median(
            skill(score, sound, chance) for score in measured[name]["scores"]
        )
        if all("score" in run for run in runs):
            after = statistics.median(skill(run["score"], sound, chance) for run in runs)
            helps = after >= FAILS or after - before >= RISE
            outcomes[name] = "helps" if helps else "does not help"
            figures = f"skill {before:.2f} -> {after:.2f}"
        else:
            outcomes[name] = runs[0].get("outcome", "crash").partition(" Type")[0]
            figures = runs[0].get("outcome", runs[0].get("crash", ""))
        lines.append((outcomes[name], f"{name}: {runs[0].get('code', '')}  {figures}"))
    short = {name: outcome.split(":")[0] for name, outcome in outcomes.items()}
    for outcome in sorted({outcome for outcome, _ in lines}):
        section(outcome, [line for of, line in lines if of == outcome])
    by_half = Counter(half(name) for name, outcome in short.items() if outcome == "helps")
    return {
        "sample": len(results),
        "applied": sum(outcome in ("helps", "does not help") for outcome in short.values()),
        "helps": sum(by_half.values()),
        "helps_by_half": dict(by_half),
        "outcomes": dict(Counter(short.values())),
    }
