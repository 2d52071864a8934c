"""Findings to advice. Causes are answered once; the symptoms that follow share the answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from initwatch.advice import run, weights
from initwatch.diagnosis.causes import DATA_SCALE, GROWTH, can_follow
from initwatch.records import Advice, Finding, History
from initwatch.records.training import Training

# Findings that a wrong scale of the weights can bring about, and what follows from them.
SIGNAL_CODES = frozenset({"IW101", "IW103", "IW104", "IW201", "IW202"})
CONSEQUENCES = frozenset({"IW203", "IW204", "IW301", "IW302", "IW501"})
# What else can follow once a step was no number: what it left of the network hardly moves.
AFTER_NAN = CONSEQUENCES | {"IW401"}

# Findings that another learning rate answers.
RATE_CODES = ("IW403", "IW401", "IW402", "IW502", "IW503")


def advise(findings: Sequence[Finding], history: History, training: Training) -> list[Advice]:
    """What to do about these findings, best supported first.

    Each fault of initialisation is answered with an initializer where theory says that one
    mends it, and with another kind of change where none does.
    """
    by_code = {finding.code: finding for finding in findings}
    out: list[Advice] = []
    answered: set[str] = set()

    def answer(codes: set[str], advice: list[Advice]) -> None:
        if advice:
            out.extend(advice)
            answered.update(codes)

    codes = set(by_code)
    # what grew from step to step is the updates' doing
    grown = {code for code in codes & {"IW202"} if GROWTH in by_code[code].evidence}
    by_data = {code for code in codes & {"IW202"} if DATA_SCALE in by_code[code].evidence}

    def follow(cause: str) -> set[str]:
        """What this brings about, and what that does in turn."""
        found: set[str] = set()
        newest = {cause}
        while newest:
            causes = [by_code[code] for code in newest]
            left = codes - answered - found - {cause}
            newest = {c for c in left if any(can_follow(by_code[c], each) for each in causes)}
            found |= newest
        return found

    if "IW602" in codes and by_code["IW602"].severity != "info":
        answers = {"IW602"} | follow("IW602")
        given = tuple(sorted(answers))
        fitting = run.fit_output(by_code["IW602"], history)
        answer(answers, [replace(item, codes=given) for item in fitting])
    # copies of one unit learn nothing of inputs, whatever their scale is
    if "IW102" in codes:
        answers = ({"IW102"} | codes & (CONSEQUENCES | SIGNAL_CODES)) - answered
        paths = by_code["IW102"].layers
        answer(answers, weights.break_symmetry(paths, history, tuple(sorted(answers))))
    if "IW601" in codes and by_code["IW601"].severity != "info":
        answers = {"IW601"} | follow("IW601")
        advice = run.give_inputs(by_code["IW601"])
        for code in by_data & answers:  # targets may be out of scale as well
            advice += run.scale_data(by_code[code])
        given = tuple(sorted(answers))
        answer(answers, [replace(item, codes=given) for item in advice])
    single_causes: dict[str, Callable[[], list[Advice]]] = {
        "IW405": lambda: run.mend_step(by_code["IW405"]),
        "IW404": lambda: run.mend_step(by_code["IW404"]),
        "IW504": lambda: run.hold_less_back(by_code["IW504"], history),
    }
    for code, give in single_causes.items():
        if code in codes - answered and by_code[code].severity != "info":
            answers = {code} | follow(code)
            given = tuple(sorted(answers))
            answer(answers, [replace(item, codes=given) for item in give()])
    if "IW204" in codes - answered and by_code["IW204"].evidence.get("zero_at_output"):
        # nothing before the output can be at fault
        answers = ({"IW204"} | codes & {"IW201", "IW301", "IW501", "IW401"}) - answered
        given = tuple(sorted(answers))
        constant = run.mend_constant_loss(by_code["IW204"], history)
        answer(answers, [replace(item, codes=given) for item in constant])
    if "IW204" in codes - answered:
        # where next to nothing passes, nothing comes back
        answers = ({"IW204"} | codes & {"IW201", "IW301", "IW501"}) - answered
        dropped = run.drop_less(by_code["IW204"], history)
        answer(answers, [replace(item, codes=tuple(sorted(answers))) for item in dropped])
    moved = (SIGNAL_CODES | CONSEQUENCES | {"IW401", "IW402"}) & codes - answered
    if moved:
        answer(set(moved), run.decay_less(tuple(sorted(moved)), training))
    late = {"IW103", "IW201", "IW301", "IW401", "IW402", "IW501"} & codes - answered
    if "IW501" in late:
        answer(
            late,
            [
                replace(item, codes=tuple(sorted(late)))
                for item in run.bring_targets_near(by_code["IW501"], history)
            ],
        )
    starved = {"IW103", "IW104", "IW201", "IW202", "IW301", "IW401", "IW501"} & codes - answered
    # what is kept is multiplied, by 20 where a twentieth is: signals grow of it, too
    if starved & {"IW104", "IW202", "IW501"}:
        dropped = run.drop_less(by_code[min(starved)], history)
        answer(starved, [replace(x, codes=tuple(sorted(starved))) for x in dropped])
    sized = {"IW105", "IW106"} & codes - answered
    if sized and "IW102" not in codes:
        answers = (sized | codes & (CONSEQUENCES | SIGNAL_CODES) | follow(min(sized))) - answered
        answer(answers, weights.resize(history, tuple(sorted(answers))))
    finite = []
    if "IW203" in codes - answered:
        # asked of the moment itself: a step later its damage looks like a cause of its own
        first = by_code["IW203"]
        finite = run.keep_finite(first, history.until(first.step), training)
        if all(item.kind == "data" for item in finite):
            # what came with a batch is in the weights after it: signals fade or die of it too
            later = {code for code in codes - {"IW101"} if by_code[code].step >= first.step}
            answers = later & (AFTER_NAN | SIGNAL_CODES) - answered
            answer(answers, [replace(item, codes=tuple(sorted(answers))) for item in finite])
    touched = (codes & (SIGNAL_CODES | CONSEQUENCES)) - answered - grown - by_data
    biases = weights.centre_biases(history, tuple(sorted(touched))) if touched else []
    if "IW101" not in codes:
        answer(touched, biases)
    signal = (codes & SIGNAL_CODES) - answered - grown - by_data
    if signal:
        answers = signal | (codes & CONSEQUENCES)
        chosen = [by_code[code] for code in sorted(signal)]
        held = run.share_no_more(chosen[0], history)
        if {"IW101", "IW103"} & signal:
            held = run.thaw(chosen[0], history) or held
        given = tuple(sorted(answers))
        answer(answers, [replace(item, codes=given) for item in held])
    if signal - answered:
        # the kernels are off, and behind them biases may be as well
        mended = weights.mend_signal(chosen, history, tuple(sorted(answers)))
        if all(item.kind == "normalization" for item in mended):
            mended = [*run.blame_updates(chosen[0], history, training), *mended]
        answer(answers, [*mended, *biases])
    if "IW203" in codes - answered:
        begun = by_code["IW203"].step
        followed = {code for code in codes & AFTER_NAN if by_code[code].step >= begun}
        answers = (followed | grown) - answered
        answer(answers, [replace(item, codes=tuple(sorted(answers))) for item in finite])
    single: dict[str, Callable[[], list[Advice]]] = {
        **{code: partial(run.scale_data, by_code[code]) for code in by_data},
        **{
            code: partial(run.change_rate, by_code[code], history, training)
            for code in (*RATE_CODES, *grown)
            if code in codes
        },
        "IW302": lambda: weights.unsaturate(by_code["IW302"], history),
        "IW301": lambda: run.revive(by_code["IW301"], history, training),
        "IW204": lambda: run.give_gradient(by_code["IW204"], history, training),
        "IW501": lambda: run.start_learning(
            by_code["IW501"], history, training, alone=codes == {"IW501"}
        ),
    }
    for code, rule in single.items():
        if code in codes and code not in answered:
            advice = rule()
            given = tuple(sorted({code} | follow(code)))
            answer(set(given), [replace(item, codes=given) for item in advice])
    places = {variable.path: i for i, variable in enumerate(history.variables)}
    return [
        replace(item, place=(places.get(item.variable, -1), len(places))) for item in _once(out)
    ]


def _once(advice: Sequence[Advice]) -> list[Advice]:
    """What two findings ask for stands once, and answers both."""
    found: dict[tuple[str, str, str, str], Advice] = {}
    for item in advice:
        key = (item.layer, item.kind, item.variable, item.code)
        first = found.get(key)
        if first is not None:
            item = replace(first, codes=tuple(sorted({*first.codes, *item.codes})))
        found[key] = item
    return list(found.values())
