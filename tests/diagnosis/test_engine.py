"""The engine: one finding a rule, news once, taken back, and a broken rule kept apart."""

import dataclasses
import itertools

import numpy as np
import pytest

from initwatch.diagnosis.engine import EVERY_ROW, EVERY_STEPS, WITHDRAWN_AFTER, Engine
from initwatch.errors import Faults
from initwatch.records import Finding, Statistic
from tests.diagnosis.histories import history_of

HISTORY = history_of(series={Statistic.LOSS: [[1.0]]})


def found(code="IW901", severity="warning", step=0, **evidence):
    return Finding(
        code=code,
        symptom="oscillating_loss",
        severity=severity,
        layers=["dense"],
        step=step,
        evidence=evidence,
        message="it oscillates",
    )


@dataclasses.dataclass
class Scripted:
    """A rule that says at each call what stands next in its script."""

    code: str
    script: list
    retracted: bool = True
    needs: frozenset = frozenset({Statistic.LOSS})
    symptom: str = "oscillating_loss"
    summary: str = "scripted"
    calls: int = 0

    def check(self, history):
        said = self.script[min(self.calls, len(self.script) - 1)]
        self.calls += 1
        for item in said:
            if isinstance(item, BaseException):
                raise item
            yield item


def engine_of(*rules, patient=True):
    told = []
    return Engine(rules, Faults(told.append), patient), told


def codes(findings):
    return [finding.code for finding in findings]


def test_the_same_finding_is_news_once():
    engine, _ = engine_of(Scripted("IW901", [[found(step=3)], [found(step=4)], [found(step=5)]]))
    news = [codes(engine.judge(HISTORY)) for _ in range(3)]
    assert news == [["IW901"], [], []]
    assert codes(engine.findings) == ["IW901"]


@pytest.mark.parametrize("retracted", [True, False])
def test_a_finding_keeps_the_step_and_the_figures_it_was_made_on(retracted):
    script = [[found(step=3, spread=0.5)], [found(step=7, spread=0.1)]]
    engine, _ = engine_of(Scripted("IW901", script, retracted))
    engine.judge(HISTORY)
    engine.judge(HISTORY)
    (finding,) = engine.findings
    assert (finding.step, finding.evidence) == (3, {"spread": 0.5})


def test_what_grows_less_severe_stays_as_it_was():
    engine, _ = engine_of(Scripted("IW901", [[found(severity="error")], [found()]]))
    news = [[f.severity for f in engine.judge(HISTORY)] for _ in range(2)]
    assert news == [["error"], []]
    assert engine.findings[0].severity == "error"


@pytest.mark.parametrize("retracted", [True, False])
def test_what_grows_more_severe_is_news_again(retracted):
    script = [[found(step=1)], [found(severity="error", step=2)], [found(severity="error", step=3)]]
    engine, _ = engine_of(Scripted("IW901", script, retracted))
    news = [[f.severity for f in engine.judge(HISTORY)] for _ in range(3)]
    assert news == [["warning"], ["error"], []]
    assert engine.findings[0].severity == "error"
    assert engine.findings[0].step == 2


def test_of_two_findings_of_a_rule_the_worse_is_kept():
    engine, _ = engine_of(Scripted("IW901", [[found(severity="info"), found(severity="error")]]))
    assert [f.severity for f in engine.judge(HISTORY)] == ["error"]
    assert len(engine.findings) == 1


def test_a_finding_is_taken_back_where_the_rule_says_so():
    for retracted in (True, False):
        engine, _ = engine_of(Scripted("IW901", [[found()], []], retracted))
        engine.judge(HISTORY)
        assert engine.judge(HISTORY) == []
        (finding,) = engine.findings
        assert finding.state == ("recovered" if retracted else "active")
        assert finding.severity == ("info" if retracted else "warning")


def with_course(losses):
    losses = np.asarray(losses)
    steps = np.arange(len(losses))
    return dataclasses.replace(
        HISTORY,
        steps=steps,
        loss_steps=steps,
        losses=losses,
        trivial_losses=np.full(len(losses), 2.3),
        error_shares=np.full(len(losses), np.nan),
    )


@pytest.mark.parametrize(("persists", "often_works"), [(True, False), (True, True), (False, False)])
def test_a_symptom_of_a_run_that_learns_well_is_info_and_no_longer_when_it_does_not(
    persists, often_works
):
    """As is what often works and then did, such as a sigmoid for each of several classes."""
    rule = Scripted("IW901", [[found(often_works=int(often_works))]])
    rule.persists = persists
    engine, _ = engine_of(rule)
    states = []
    for losses in (np.full(40, 2.3), np.linspace(2.3, 0.5, 40), np.linspace(2.3, 4.0, 40)):
        engine.judge(with_course(losses))
        states.append((engine.findings[0].state, engine.findings[0].severity))
        engine._judged = -100
    good = ("active", "warning")
    well = good if persists and not often_works else ("recovered", "info")
    assert states == [good, well, good]


@pytest.mark.parametrize(
    ("hurts", "loss", "state"),
    [
        (False, 3.0, "recovered"),
        (True, 3.0, "active"),  # above the guess of 2.3
        (True, 0.5, "recovered"),
    ],
)
def test_a_run_that_learns_by_its_errors_alone_is_hurt_by_what_is_still_there(hurts, loss, state):
    past, present = Scripted("IW901", [[found()], []], False), Scripted("IW902", [[found("IW902")]])
    present.hurts_above_guess = hurts
    engine, _ = engine_of(past, present)
    history = with_course(np.linspace(9.0, loss, 40))
    for _ in range(2):
        engine.judge(dataclasses.replace(history, error_shares=np.full(40, 0.45)))
        engine._judged = -100
    assert {finding.state for finding in engine.findings} == {state}


@pytest.mark.parametrize(("hurts", "loss"), [(True, 1.9), (True, 0.5), (False, 1.9)])
def test_a_fit_that_ends_with_a_high_loss_and_few_errors_is_harmed_by_what_hurts(hurts, loss):
    """83 % of a guess's loss at 30 % of its errors: sure where it is wrong."""
    waiting, present = Scripted("IW901", [[found()]]), Scripted("IW902", [[found("IW902")]])
    waiting.waits_for_harm = True
    present.hurts_above_guess = hurts
    engine, _ = engine_of(waiting, present)
    losses = np.append(np.linspace(9.0, loss, 20), np.full(40, loss))
    history = dataclasses.replace(with_course(losses), error_shares=np.full(60, 0.3))
    engine.judge(history)
    assert engine.findings[-1].severity == "info"
    engine.judge(dataclasses.replace(history, over=True))
    told = {finding.code: finding.severity for finding in engine.findings}
    assert told["IW901"] == ("warning" if hurts and loss > 1.0 else "info")


@pytest.mark.parametrize(("loss", "state"), [(100.0, "recovered"), (110.0, "active")])
def test_errors_excuse_no_loss_beyond_what_a_softmax_can_tell(loss, state):
    """In float32 a probability is 0 from 103 nats on."""
    engine, _ = engine_of(Scripted("IW901", [[found()]]))
    history = with_course(np.linspace(1e6, loss, 40))
    flat = np.concatenate([history.losses[:20], np.full(20, loss)])
    errors = np.full(40, 0.3)
    engine.judge(dataclasses.replace(history, losses=flat, error_shares=errors))
    assert {finding.state for finding in engine.findings} == {state}


def test_what_follows_names_its_cause_and_lifts_it():
    rules = [
        Scripted("IW101", [[found("IW101")]]),
        Scripted("IW201", [[found("IW201", severity="error")]]),
        Scripted("IW501", [[found("IW501")]]),
        Scripted("IW602", [[found("IW602", severity="info")]]),
    ]
    engine, _ = engine_of(*rules)
    engine.judge(HISTORY)
    by_code = {f.code: f for f in engine.findings}
    assert by_code["IW101"].cause == ""
    assert by_code["IW101"].severity == "error"  # what follows from it is
    # the first cause, not the nearest; what is only worth knowing is none
    assert by_code["IW201"].cause == by_code["IW501"].cause == "IW101"
    assert codes(engine.findings)[0] == "IW101"


def test_what_often_works_is_not_blamed_while_something_else_explains_the_run():
    doubtful = found("IW602", often_works=1)
    alone, _ = engine_of(Scripted("IW602", [[doubtful]]))
    beside, _ = engine_of(Scripted("IW602", [[doubtful]]), Scripted("IW201", [[found("IW201")]]))
    for engine in (alone, beside):
        engine.judge(HISTORY)
    severities = [{f.code: f.severity for f in e.findings} for e in (alone, beside)]
    assert severities == [{"IW602": "warning"}, {"IW602": "info", "IW201": "warning"}]


def test_a_finding_tells_when_it_was_last_seen():
    engine, _ = engine_of(Scripted("IW901", [[found(step=0)], [found(step=1)], []]))
    for step in range(3):
        engine.judge(dataclasses.replace(HISTORY, steps=np.array([step])))
    (finding,) = engine.findings
    assert (finding.step, finding.last_step, finding.state) == (0, 1, "recovered")


def test_what_was_taken_back_and_returns_is_news(monkeypatch):
    monkeypatch.setattr("initwatch.diagnosis.engine.WITHDRAWN_AFTER", 0)
    engine, _ = engine_of(Scripted("IW901", [[found(step=1)], [], [found(step=9)]]))
    news = [codes(engine.judge(HISTORY)) for _ in range(3)]
    assert news == [["IW901"], [], ["IW901"]]
    assert engine.findings[0].step == 9


def test_a_rule_without_its_data_abstains_by_name():
    hungry = Scripted(
        "IW902",
        [[found("IW902")]],
        needs=frozenset({Statistic.DELTA_NORM, Statistic.ACTIVATION_STD, Statistic.LOSS}),
    )
    engine, _ = engine_of(hungry, Scripted("IW901", [[found()]]))
    assert codes(engine.judge(HISTORY)) == ["IW901"]
    assert engine.abstained == {"IW902": "not measured: activation_std, delta_norm"}
    assert hungry.calls == 0
    full = history_of(
        series={name: [[1.0]] for name in (Statistic.DELTA_NORM, Statistic.ACTIVATION_STD)}
        | dict(HISTORY.series)
    )
    assert codes(engine.judge(full)) == ["IW902"]
    assert engine.abstained == {}


def test_a_rule_that_cannot_judge_this_model_says_why():
    rule = Scripted("IW901", [[]])
    rule.abstains = lambda history: "too shallow" if len(history.steps) < 2 else None
    engine, _ = engine_of(rule)
    engine.judge(HISTORY)
    assert engine.abstained == {"IW901": "too shallow"}
    engine.judge(dataclasses.replace(HISTORY, steps=np.arange(2)))
    assert engine.abstained == {}


def test_a_rule_that_raises_is_reported_once_and_the_others_go_on():
    broken = Scripted("IW902", [[found("IW902")], [ZeroDivisionError("by zero")]])
    sound = Scripted("IW903", [[], [], [found("IW903")]])
    engine, told = engine_of(broken, sound)
    news = [codes(engine.judge(HISTORY)) for _ in range(4)]
    assert news == [["IW902"], [], ["IW903"], []]
    assert len(told) == 1
    assert "rule IW902" in told[0]
    assert "ZeroDivisionError: by zero" in told[0]
    # what it had found before stands; it is not asked again
    assert codes(engine.findings) == ["IW902", "IW903"]
    assert broken.calls == 2


def test_half_an_answer_is_none():
    # the fault comes after the first finding was yielded
    engine, told = engine_of(Scripted("IW901", [[found(), RuntimeError("late")]]))
    assert engine.judge(HISTORY) == []
    assert engine.findings == []
    assert len(told) == 1


def test_the_user_can_interrupt_a_rule():
    engine, told = engine_of(Scripted("IW901", [[KeyboardInterrupt()]]))
    with pytest.raises(KeyboardInterrupt):
        engine.judge(HISTORY)
    assert told == []


def test_findings_stand_by_severity_and_then_causes_first():
    order = [
        ("IW904", "info"),
        ("IW903", "warning"),
        ("IW902", "error"),
        ("IW901", "error"),
        ("IW905", "warning"),
    ]
    engine, _ = engine_of(*(Scripted(code, [[found(code, severity)]]) for code, severity in order))
    # news come in the order of the rules
    assert codes(engine.judge(HISTORY)) == [code for code, _ in order]
    assert codes(engine.findings) == ["IW902", "IW901", "IW903", "IW905", "IW904"]


def test_past_the_first_rows_rules_are_asked_every_few_steps_and_at_once_when_the_loss_is_lost():
    rule = Scripted("IW901", [[]])
    engine, _ = engine_of(rule)
    asked = []
    for rows in range(1, 101):
        loss = np.nan if rows == 70 else 1.0
        steps = np.arange(rows)
        losses = np.full(rows, 1.0)
        losses[-1] = loss
        calls = rule.calls
        history = dataclasses.replace(
            HISTORY,
            steps=steps,
            loss_steps=steps,
            losses=losses,
            trivial_losses=np.zeros(rows),
            error_shares=np.full(rows, np.nan),
        )
        engine.judge(history)
        if rule.calls > calls:
            asked.append(rows - 1)
    assert asked[:EVERY_ROW] == list(range(EVERY_ROW))
    late = asked[EVERY_ROW:]
    assert 69 in late  # the step whose loss is not finite
    assert max(b - a for a, b in itertools.pairwise(asked)) == EVERY_STEPS
    assert len(late) <= (100 - EVERY_ROW) / EVERY_STEPS + 1


def test_the_end_of_a_run_is_judged_whenever_the_last_time_was():
    rule = Scripted("IW901", [[]] * 40 + [[found()]])
    engine, _ = engine_of(rule)

    def at(rows, over=False):
        return codes(engine.judge(dataclasses.replace(HISTORY, steps=np.arange(rows), over=over)))

    for rows in range(1, 41):
        at(rows)
    rule.script = [[found()]]
    assert at(41) == []
    assert at(41, over=True) == ["IW901"]
    calls = rule.calls
    assert at(41) == []
    assert rule.calls == calls  # nothing new to ask about


def test_updates_that_come_to_nothing_follow_from_what_is_no_number():
    rules = [Scripted(code, [[found(code)]]) for code in ("IW203", "IW401")]
    engine, _ = engine_of(*rules)
    engine.judge(HISTORY)
    assert {f.code: f.cause for f in engine.findings} == {"IW203": "", "IW401": "IW203"}


@pytest.mark.parametrize("seen", [True, False])
def test_a_run_that_is_lost_takes_nothing_back(seen):
    """Saturation cannot be read where everything is NaN; that does not mend it."""
    engine, _ = engine_of(Scripted("IW901", [[found()], []]))
    lost = dataclasses.replace(
        HISTORY,
        losses=np.array([np.nan]),
        loss_steps=np.array([0]),
        output=dataclasses.replace(HISTORY.output, loss_seen=seen),
    )
    engine.judge(lost)
    engine.judge(lost)
    (finding,) = engine.findings
    assert finding.state == ("active" if seen else "recovered")


def test_half_of_single_examples_right_and_the_rest_far_off_is_no_learning_well():
    """Batches of one: the median of 0, 0, 0, 9, 9 is 0."""
    rule = Scripted("IW901", [[found()]])
    engine, _ = engine_of(rule)
    engine.judge(with_course(np.tile([0.0, 9.0, 0.0, 0.0, 9.0], 20)))
    assert engine.findings[0].state == "active"
    engine._judged = -100
    engine.judge(with_course(np.tile([0.0, 2.0, 0.0, 0.0, 2.0], 20)))
    assert engine.findings[0].state == "recovered"


@pytest.mark.parametrize("lets_go", [True, False])
def test_a_rule_can_take_back_some_of_what_it_finds(lets_go):
    rule = Scripted("IW901", [[found()], []], retracted=False)
    rule.lets_go = lambda finding: lets_go
    engine, _ = engine_of(rule)
    engine.judge(HISTORY)
    engine.judge(HISTORY)
    assert engine.findings[0].state == ("recovered" if lets_go else "active")


@pytest.mark.parametrize(("severity", "judged"), [("error", "warning"), ("info", "info")])
def test_behind_a_misfit_a_loss_that_stands_still_has_not_converged(severity, judged):
    rules = [
        Scripted("IW602", [[found("IW602", severity)]]),
        Scripted("IW501", [[found("IW501", "info")]]),
    ]
    engine, _ = engine_of(*rules)
    engine.judge(HISTORY)
    findings = {finding.code: finding for finding in engine.findings}
    assert findings["IW501"].severity == judged
    assert findings["IW501"].cause == ("IW602" if severity == "error" else "")


def test_one_batch_whose_own_guess_is_next_to_nothing_is_no_setback():
    """Rows in the order of time: the targets of a batch hardly differ."""
    rule = Scripted("IW901", [[found()]])
    engine, _ = engine_of(rule)
    history = with_course(np.linspace(2.3, 0.3, 130))
    guesses = np.full(130, 1.0)
    guesses[-5] = 0.02
    engine.judge(dataclasses.replace(history, trivial_losses=guesses))
    assert engine.findings[0].state == "recovered"


# ---------------------------------------------------------------------- waiting for harm

EARLY = np.full(30, 2.3)
HARMED = np.full(80, 2.3)  # 50 steps at a constant's loss
LEARNING = np.linspace(2.3, 1.8, 80)
LEARNED = np.linspace(2.3, 0.5, 80)


def waiting(*script, severity="warning", code="IW901"):
    rule = Scripted(code, list(script) or [[found(code, severity)]])
    rule.waits_for_harm = True
    return rule


def judged(engine, losses):
    """News of a history whose newest row is of this course's last step."""
    engine._judged = -100
    return codes(engine.judge(with_course(losses)))


def test_a_warning_that_may_be_harmless_waits_for_a_sign_of_harm():
    engine, _ = engine_of(waiting())
    # the engine takes note of it, and of its being new
    assert judged(engine, EARLY) == ["IW901"]
    (finding,) = engine.findings
    assert (finding.severity, finding.state) == ("info", "active")
    assert engine.active == []
    assert judged(engine, LEARNING) == []
    assert engine.findings[0].severity == "info"
    assert judged(engine, HARMED) == ["IW901"]
    assert engine.findings[0].severity == "warning"
    assert codes(engine.active) == ["IW901"]
    assert judged(engine, HARMED) == []


def test_one_found_after_the_harm_is_told_at_once():
    engine, _ = engine_of(waiting([], [found()]))
    assert judged(engine, HARMED) == []
    assert judged(engine, HARMED) == ["IW901"]
    assert engine.findings[0].severity == "warning"


def test_harm_that_was_seen_is_not_forgotten_until_the_run_learns_well():
    engine, _ = engine_of(waiting())
    judged(engine, HARMED)
    judged(engine, LEARNING)
    assert engine.findings[0].severity == "warning"
    judged(engine, LEARNED)
    assert (engine.findings[0].severity, engine.findings[0].state) == ("info", "recovered")


@pytest.mark.parametrize("severity", ["error", "info"])
def test_errors_do_not_wait_and_what_is_only_worth_knowing_never_becomes_more(severity):
    engine, _ = engine_of(waiting(severity=severity))
    judged(engine, EARLY)
    assert engine.findings[0].severity == severity
    assert judged(engine, HARMED) == []
    assert engine.findings[0].severity == severity


def test_what_waits_is_no_cause_of_what_does_not():
    rules = [waiting(code="IW101"), Scripted("IW201", [[found("IW201", "error")]])]
    engine, _ = engine_of(*rules)
    judged(engine, EARLY)
    assert {f.code: (f.severity, f.cause) for f in engine.findings} == {
        "IW101": ("info", ""),
        "IW201": ("error", ""),
    }
    judged(engine, HARMED)
    assert {f.code: (f.severity, f.cause) for f in engine.findings} == {
        "IW101": ("error", ""),
        "IW201": ("error", "IW101"),
    }


def test_somebody_who_may_act_on_it_does_not_wait():
    engine, _ = engine_of(waiting(), patient=False)
    assert judged(engine, EARLY) == ["IW901"]
    assert engine.findings[0].severity == "warning"
    assert codes(engine.active) == ["IW901"]
    assert judged(engine, HARMED) == []


# ---------------------------------------------------------------------- withdrawn


def withdrawn(engine):
    return [(gone.code, gone.symptom, gone.reason) for gone in engine.withdrawn()]


@pytest.fixture
def at_once(monkeypatch):
    """Withdrawn at the first look that does not find it."""
    monkeypatch.setattr("initwatch.diagnosis.engine.WITHDRAWN_AFTER", 0)


def test_what_comes_and_goes_at_the_edge_of_a_limit_is_told_once():
    engine, _ = engine_of(Scripted("IW901", [[found()], [], [found()], [], []]))
    assert judged(engine, EARLY) == ["IW901"]
    for length in (31, 32, 40):
        assert judged(engine, np.full(length, 2.3)) == []
        assert withdrawn(engine) == []
    # graver than it was, it is told again
    engine, _ = engine_of(Scripted("IW901", [[found()], [], [found(severity="error")]]))
    assert [judged(engine, EARLY) for _ in range(3)] == [["IW901"], [], ["IW901"]]


def test_what_has_been_gone_for_a_while_is_withdrawn():
    engine, _ = engine_of(Scripted("IW901", [[found()], [], [], [found()]]))
    judged(engine, EARLY)
    judged(engine, EARLY)
    assert withdrawn(engine) == []
    judged(engine, np.full(30 + WITHDRAWN_AFTER, 2.3))
    assert withdrawn(engine) == [("IW901", "oscillating_loss", "it no longer holds")]
    assert judged(engine, np.full(30 + WITHDRAWN_AFTER, 2.3)) == ["IW901"]


def test_at_the_end_of_a_fit_it_is_withdrawn_at_once():
    engine, _ = engine_of(Scripted("IW901", [[found()], []]))
    judged(engine, EARLY)
    engine.judge(dataclasses.replace(with_course(EARLY), over=True))
    assert withdrawn(engine) == [("IW901", "oscillating_loss", "it no longer holds")]


def test_what_was_told_and_is_taken_back_is_withdrawn_once(at_once):
    engine, _ = engine_of(Scripted("IW901", [[found()], [], []]))
    judged(engine, EARLY)
    assert withdrawn(engine) == []
    judged(engine, EARLY)
    assert withdrawn(engine) == [("IW901", "oscillating_loss", "it no longer holds")]
    judged(engine, EARLY)
    assert withdrawn(engine) == []


def test_what_a_run_does_well_in_spite_of_is_withdrawn(at_once):
    engine, _ = engine_of(Scripted("IW901", [[found()]]))
    judged(engine, EARLY)
    judged(engine, LEARNED)
    assert withdrawn(engine) == [("IW901", "oscillating_loss", "the run learns")]
    assert engine.findings[0].state == "recovered"


def test_what_something_else_explains_is_withdrawn(at_once):
    rules = [
        Scripted("IW602", [[found("IW602", often_works=1)]]),
        Scripted("IW201", [[], [found("IW201")]]),
    ]
    engine, _ = engine_of(*rules)
    assert judged(engine, EARLY) == ["IW602"]
    assert judged(engine, EARLY) == ["IW201"]
    assert [gone[::2] for gone in withdrawn(engine)] == [
        ("IW602", "something else explains the run")
    ]


def test_what_comes_back_after_it_was_withdrawn_is_told_again(at_once):
    """The run learned well for a while; the evidence was there throughout."""
    engine, _ = engine_of(Scripted("IW901", [[found()]]))
    assert judged(engine, EARLY) == ["IW901"]
    assert judged(engine, LEARNED) == []
    assert len(withdrawn(engine)) == 1
    assert judged(engine, HARMED) == ["IW901"]
    assert withdrawn(engine) == []
    # and withdrawn again
    judged(engine, LEARNED)
    assert len(withdrawn(engine)) == 1


def test_what_is_found_again_after_it_was_withdrawn_is_told_again(at_once):
    engine, _ = engine_of(Scripted("IW901", [[found()], [], [found()], []]))
    assert judged(engine, EARLY) == ["IW901"]
    assert judged(engine, EARLY) == []
    assert len(withdrawn(engine)) == 1
    assert judged(engine, EARLY) == ["IW901"]
    assert withdrawn(engine) == []
    judged(engine, EARLY)
    assert len(withdrawn(engine)) == 1


def test_what_comes_back_before_anybody_heard_is_not_withdrawn():
    engine, _ = engine_of(Scripted("IW901", [[found()], [], [found()]]))
    for _ in range(3):
        judged(engine, EARLY)
    assert withdrawn(engine) == []


@pytest.mark.parametrize("script", [[[found(severity="info")], []], [[], []]])
def test_what_was_never_told_is_not_withdrawn(script):
    engine, _ = engine_of(Scripted("IW901", script))
    for _ in range(2):
        judged(engine, EARLY)
    assert withdrawn(engine) == []


def test_what_only_waited_is_not_withdrawn():
    engine, _ = engine_of(waiting([found()], []))
    judged(engine, EARLY)
    judged(engine, LEARNING)
    assert withdrawn(engine) == []
