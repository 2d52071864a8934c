"""What a person reads in the terminal."""

import dataclasses
import io

import pytest
from rich.console import Console

from initwatch.outlets.console import ConsoleOutlet
from initwatch.records import Advice, Finding, Report
from initwatch.records.update import Update, Withdrawn

LAYERS = [f"net/h_{i}" for i in range(6)]


def finding(code="IW201", symptom="vanishing_gradient", severity="error", **changes):
    given = {
        "layers": LAYERS,
        "step": 2,
        "evidence": {"gradient_left": 1.25e-9, "gradient_left_limit": 0.05, "layers_of_depth": 6},
        "message": "The gradient fades [on] its way.",
    }
    return Finding(code=code, symptom=symptom, severity=severity, **{**given, **changes})


def advice(layer, codes=("IW201", "IW103")):
    return Advice(
        layer=layer,
        kind="initializer",
        current=None,
        suggested=None,
        code="kernel_initializer=keras.initializers.HeNormal()",
        predicted={},
        measured=None,
        reason="Theory says so.",
        codes=codes,
    )


def update(*news, answers=(), withdrawn=()):
    return Update(
        step=2,
        layers=(),
        variables=(),
        values={},
        histograms=(),
        news=news,
        report=Report(findings=list(news), advice=list(answers), steps_seen=3, last_step=2),
        withdrawn=tuple(withdrawn),
    )


@pytest.fixture
def terminal():
    """(outlet, what was printed so far), 80 columns and no colour."""
    text = io.StringIO()
    outlet = ConsoleOutlet(Console(file=text, width=80, highlight=False))
    outlet.open(0)
    return outlet, text.getvalue


def flat(text):
    return " ".join(text.replace("│", " ").split())


def test_a_sampled_step_without_news_is_silent(terminal):
    outlet, printed = terminal
    outlet.emit(update())
    assert printed() == ""


def test_what_was_measured_stands_under_the_advice_it_is_of(terminal):
    outlet, printed = terminal
    measured = [
        dataclasses.replace(
            advice(layer), code=code, measured={"loss_before": 2.0, "loss_after": after}
        )
        for layer, code, after in (("a", "one", 1.0), ("b", "two", 1.0), ("c", "three", 0.5))
    ]
    unmeasured = dataclasses.replace(advice("d"), code="four")
    outlet.emit(update(finding(), answers=[*measured, unmeasured]))
    text = flat(printed())
    places = [
        text.index(words)
        for words in (
            "advice one",
            "advice two",
            "measured loss 2 -> 1",
            "advice three",
            "measured loss 2 -> 0.5",
            "advice four",
        )
    ]
    assert places == sorted(places)
    assert text.count("measured") == 2


def test_a_finding_is_one_block_with_layer_step_evidence_limit_and_advice(terminal):
    outlet, printed = terminal
    outlet.emit(update(finding(), answers=[advice(path) for path in LAYERS]))
    lines = printed().splitlines()
    assert lines[0].startswith("╭─ IW201 vanishing_gradient ─")
    assert lines[-1].endswith("error, step 2 ─╯")
    assert {len(line) for line in lines} == {80}
    said = flat(printed())
    assert "net/h_0, net/h_1 ... net/h_5 (6 layers)" in said
    assert "gradient_left 1.25e-09 (limit 0.05), layers_of_depth 6" in said
    assert said.count("keras.initializers.HeNormal()") == 1
    assert "Theory says so." in said
    assert "[on]" in said  # words in brackets are text, not rich's markup


def test_advice_is_given_once_for_findings_that_share_it(terminal):
    outlet, printed = terminal
    answers = [advice(path) for path in LAYERS]
    other = finding("IW103", "vanishing_signal", "warning")
    outlet.emit(update(finding(), other, answers=answers))
    assert flat(printed()).count("HeNormal()") == 1
    assert "advice as above" in flat(printed())
    outlet.open(0)  # the next fit says it again
    outlet.emit(update(finding(), answers=answers))
    assert flat(printed()).count("HeNormal()") == 2


def test_the_code_to_paste_can_be_copied_from_a_narrow_terminal():
    text = io.StringIO()
    outlet = ConsoleOutlet(Console(file=text, width=40))
    outlet.emit(update(finding(), answers=[advice(LAYERS[0])]))
    joined = "".join(line.strip("│ ") for line in text.getvalue().splitlines())
    assert "keras.initializers.HeNormal()" in joined


def test_a_bar_in_progress_is_left_on_a_line_of_its_own():
    text = io.StringIO()
    outlet = ConsoleOutlet(Console(file=text, width=80), in_progress=lambda: True)
    text.write("1/6 ━━━━")
    outlet.emit(update(finding()))
    assert text.getvalue().splitlines()[0] == "1/6 ━━━━"


def test_what_was_printed_and_no_longer_holds_is_withdrawn_in_one_line(terminal):
    outlet, printed = terminal
    outlet.emit(update(finding()))
    before = printed()
    gone = Withdrawn("IW201", "vanishing_gradient", "the run learns")
    outlet.emit(update(withdrawn=[gone]))
    line = "initwatch: IW201 vanishing_gradient withdrawn: the run learns.\n"
    assert printed() == before + line
    outlet.emit(update(withdrawn=[gone]))  # once
    assert printed() == before + line
    # when it is back it is printed, and may be withdrawn again
    outlet.emit(update(finding(step=9)))
    outlet.emit(update(withdrawn=[gone]))
    assert printed().count("IW201 vanishing_gradient withdrawn") == 2


def test_what_was_never_printed_is_not_withdrawn(terminal):
    """What was only mentioned, or printed in a fit before this one."""
    outlet, printed = terminal
    gone = Withdrawn("IW201", "vanishing_gradient", "it no longer holds")
    outlet.emit(update(finding(severity="info"), withdrawn=[gone]))
    assert printed() == ""
    outlet.emit(update(finding()))
    outlet.open(40)
    before = printed()
    outlet.emit(update(withdrawn=[gone]))
    assert printed() == before


@pytest.mark.parametrize(
    ("report", "line"),
    [
        (Report(), "initwatch: no step was measured."),
        (
            Report(steps_seen=3, last_step=2),
            "initwatch: healthy, nothing to report (3 steps measured up to step 2).",
        ),
        (
            Report(
                findings=[finding(), finding(), finding(severity="info")],
                steps_seen=3,
                last_step=2,
            ),
            "initwatch: 2 errors, 1 info (3 steps measured up to step 2).",
        ),
    ],
)
def test_the_closing_line(terminal, report, line):
    outlet, printed = terminal
    outlet.close(report)
    assert printed().splitlines() == [line]


def test_a_note_is_one_sentence_of_ours(terminal):
    outlet, printed = terminal
    outlet.note("the log cannot be written.")
    assert printed() == "initwatch: the log cannot be written.\n"
