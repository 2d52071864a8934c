"""Which operator is applied to which program: a fixed list, in two halves.

Rules may be tuned on the half ``tune``; what they are worth is told by the half ``held``.
"""

import hashlib
from typing import Any

from tests.bench.programs.truth import known

HALVES = ("tune", "held")
# programs an operator; of other families 2
QUOTA = {"normalization": 3, "optimizer": 1, "loss": 1, "step": 1, "sound_change": 1}
SLOWEST = 4.0  # seconds of a core that a training may take

# a program, and the operators applied to it
PAIRS = """
wine weights_x100 zeros bias_-10 output_relu rate_by_1000 inputs_divided inputs_nan labels_one_class one_hot_x10 l1_0.1 dropout_0.95 sound_adamw inputs_plus_100 clipped_sgd step_forgotten
"""


def rank(text: str) -> int:
    """A number that looks drawn at random, the same each time."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])


def half(pair: str) -> str:
    """``tune`` or ``held``."""
    return HALVES[rank(pair) % 2]


def listed() -> list[str]:
    """All pairs, ``program/operator``."""
    lines = [line.split() for line in PAIRS.strip().splitlines()]
    return [f"{program}/{operator}" for program, *operators in lines for operator in operators]


def pairs(which: str = "all") -> list[str]:
    """The pairs of a half, without those that Keras itself refuses to train."""
    truth = known()
    return [
        pair
        for pair in listed()
        if which in ("all", half(pair)) and "raises" not in truth.get(pair, {})
    ]


def propose(programs: dict[str, Any], only: set[str] | None = None) -> str:
    """A list of pairs as ``PAIRS`` has it: those there are, and others where there are too few.

    Of the programs that an operator applies to, those are taken that have the fewest operators
    so far; slow ones, those not measured and those that do not learn are left out.

    Args:
        programs: all of them.
        only: operators to find more pairs for; all by default.
    """
    from tests.bench.programs.mutate import operators

    chosen: dict[str, list[str]] = {}
    for pair in pairs():
        chosen.setdefault(pair.partition("/")[0], []).append(pair.partition("/")[2])
    truth = known()
    fit = [name for name, program in programs.items() if _fits(name, program, truth)]
    made = {name: programs[name].make() for name in fit}
    for item in operators().values():
        if only is not None and item.name not in only:
            continue
        missing = QUOTA.get(item.family, 2) - sum(item.name in of for of in chosen.values())
        free = [n for n in fit if f"{n}/{item.name}" not in truth]
        free.sort(key=lambda n: (len(chosen.get(n, ())) // 3, rank(f"{n}/{item.name}")))
        for name in free:
            if missing > 0 and item.name not in chosen.get(name, ()) and _applies(item, made[name]):
                chosen.setdefault(name, []).append(item.name)
                missing -= 1
    return "\n".join(f"{name} {' '.join(sorted(chosen[name]))}" for name in sorted(chosen))


def _fits(name: str, program: Any, truth: dict[str, Any]) -> bool:
    """True for a stock program that learns, and fast."""
    entry = truth.get(name, {})
    fast = entry.get("seconds", 1e9) <= SLOWEST
    return bool(program.stock and fast and min(entry["scores"]) >= program.learned)


def _applies(item: Any, run: Any) -> bool:
    try:
        return item.change(run) is not None
    except Exception as error:
        print(f"# {item.name}: {type(error).__name__}: {str(error)[:100]}")
        return False
