"""Which operator is applied to which program: a fixed list, in two halves.

Rules may be tuned on the half ``tune``; what they are worth is told by the half ``held``.
"""

import hashlib
from typing import Any

from tests.bench.programs.truth import known

HALVES = ("tune", "held")
QUOTA = {"initial_weights": 3, "sound_change": 1}  # programs an operator; 2 of other families
SLOWEST = 4.0  # seconds a training may take

# a program, and the operators applied to it
PAIRS = """
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
    applicable = _applicable({n: p for n, p in programs.items() if _fits(n, p, truth)})
    order = sorted(operators().values(), key=lambda o: (len(applicable.get(o.name, ())), o.name))
    for item in order:
        if only is not None and item.name not in only:
            continue
        there = {program for program, found in chosen.items() if item.name in found}
        free = [
            program
            for program in applicable.get(item.name, ())
            if program not in there and f"{program}/{item.name}" not in truth
        ]
        for _ in range(QUOTA.get(item.family, 2) - len(there)):
            if free:
                least = min(free, key=lambda p: (len(chosen.get(p, ())), rank(p + item.name)))
                free.remove(least)
                chosen.setdefault(least, []).append(item.name)
    return "\n".join(f"{name} {' '.join(sorted(chosen[name]))}" for name in sorted(chosen))


def _fits(name: str, program: Any, truth: dict[str, Any]) -> bool:
    entry = truth.get(name, {})
    return bool(
        program.stock
        and entry.get("seconds", 1e9) <= SLOWEST
        and min(entry["scores"]) >= program.learned
    )


def _applicable(programs: dict[str, Any]) -> dict[str, list[str]]:
    """Operator -> programs."""
    import keras

    from tests.bench.programs.mutate import operators

    found: dict[str, list[str]] = {}
    for name, program in programs.items():
        keras.backend.clear_session()
        run = program.make()
        for item in operators().values():
            try:
                applies = item.change(run) is not None
            except Exception as error:
                print(f"# {name}/{item.name}: {type(error).__name__}: {str(error)[:100]}")
                applies = False
            if applies:
                found.setdefault(item.name, []).append(name)
    return found
