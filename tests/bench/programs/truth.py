"""What is known of the mutants: measured without initwatch, not asserted.

A mutant's skill is its score over chance as a share of the sound program's. ``fails``: the median
skill of the seeds is below 0.2; ``worse``: it is below 0.7, and every seed does worse than the
sound program's worst; ``no harm``: it is 0.85 or more; else ``unclear``. Three seeds are trained;
of mutants only two where these agree, so that a third cannot change the median's side.
"""

import json
import statistics
import time
from pathlib import Path
from typing import Any

from tests.bench.programs import runner

TRUTH = Path(__file__).with_name("truth.json")
SEEDS = 3
FAILS, WORSE, NO_HARM = 0.2, 0.7, 0.85
VERDICTS = ("fails", "worse", "unclear", "no harm")


def known(path: Path = TRUTH) -> dict[str, Any]:
    """Name of a program or pair -> its scores, or why it raises."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def keep(truth: dict[str, Any], path: Path = TRUTH) -> None:
    """Writes it, a line each; whole or not at all."""
    lines = [f" {json.dumps(name)}: {json.dumps(truth[name])}" for name in sorted(truth)]
    new = path.with_suffix(".new")
    new.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    new.replace(path)


def measure(names: list[str], jobs: int, backend: str) -> None:
    """Trains those not measured yet, sound programs first; keeps each as it comes."""
    truth = known()  # another run may add to it meanwhile
    sound = list(dict.fromkeys(name.partition("/")[0] for name in names))
    names = [name for name in dict.fromkeys([*sound, *names]) if name not in truth]
    began = time.monotonic()
    results = runner.on_each(runner.scores, names, SEEDS, jobs=jobs, backend=backend)
    for number, (name, result) in enumerate(results, 1):
        # a process that died or was paused says nothing of the mutant: it is measured again
        measured = isinstance(result, dict) and ("/" in name or "raises" not in result)
        if measured:
            keep(known() | {name: result})
        runner.progress(number, names, began, name, result)


def skill(score: float, sound: list[float], chance: float) -> float:
    """0 for what a constant prediction reaches, 1 for what the sound program does."""
    return (score - chance) / (statistics.median(sound) - chance)


def verdict(scores: list[float], sound: list[float], chance: float) -> str:
    """One of ``VERDICTS``."""
    middle = statistics.median(skill(score, sound, chance) for score in scores)
    if middle < FAILS:
        return "fails"
    if middle < WORSE and max(scores) < min(sound):
        return "worse"
    return "no harm" if middle >= NO_HARM else "unclear"


def settled(pair: str, scores: list[float], programs: dict[str, Any]) -> bool:
    """True if two seeds agree so that a third cannot change the verdict."""
    program = pair.partition("/")[0]
    sound = known().get(program, {}).get("scores")
    if not sound or len(scores) < 2:
        return False
    skills = [skill(score, sound, programs[program].chance) for score in scores]
    return max(skills) < FAILS or min(skills) >= NO_HARM


def verdicts(truth: dict[str, Any], chances: dict[str, float]) -> dict[str, str]:
    """Pair -> verdict, of those measured; ``chances``: program -> score of chance."""
    found = {}
    for name, entry in truth.items():
        program, _, operator = name.partition("/")
        sound = truth.get(program, {}).get("scores")
        if operator and "scores" in entry and sound and program in chances:
            found[name] = verdict(entry["scores"], sound, chances[program])
    return found


def unlearnt(truth: dict[str, Any], programs: dict[str, Any]) -> list[str]:
    """Sound programs that do not reach what they are said to."""
    return [
        f"{name}: {truth[name]}, {program.learned} needed"
        for name, program in programs.items()
        if name in truth and min(truth[name].get("scores", [-1e9])) < program.learned
    ]
