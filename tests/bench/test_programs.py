"""The bench of programs keeps what it promises: pairs that exist, facts, and measured truth."""

from collections import Counter

import keras
import numpy as np
import pytest

from tests.bench.programs import runner, score, truth
from tests.bench.programs.mutate import ADVICE, FAMILIES, SYMPTOMS, operators
from tests.bench.programs.mutate_rebuild import parts, rebuilt
from tests.bench.programs.pairs import half, listed, pairs

TINY = "wine"  # trains in a second


@pytest.fixture(scope="module")
def programs():
    broken = {}
    found = runner.load(broken)
    assert broken == {}
    return found


def test_every_operator_has_facts():
    for item in operators().values():
        assert item.family in FAMILIES, item.name
        assert item.symptoms <= SYMPTOMS, item.name
        assert item.advice <= ADVICE, item.name
        assert item.harmless == (not item.advice), item.name
        assert item.doc, item.name


def test_there_are_many_pairs_of_programs_and_operators_that_exist(programs):
    names = listed()
    assert len(names) == len(set(names)) >= 250
    for name in names:
        program, _, operator = name.partition("/")
        assert programs[program].stock, name
        assert operator in operators(), name


def test_pairs_are_spread_over_programs_operators_and_halves(programs):
    names = pairs()
    assert len(names) >= 250
    halves = {which: pairs(which) for which in ("tune", "held")}
    assert min(len(of) for of in halves.values()) > len(names) // 3
    assert all(half(name) == which for which, of in halves.items() for name in of)
    assert len({name.partition("/")[0] for name in names}) >= 30
    families = Counter(operators()[name.partition("/")[2]].family for name in names)
    assert set(families) == set(FAMILIES)
    assert families["sound_change"] >= 25


def test_what_is_known_of_pairs_was_measured_under_as_many_seeds_as_decide(programs):
    known = truth.known()
    chances = {name: program.chance for name, program in programs.items()}
    verdicts = truth.verdicts(known, chances)
    for name in pairs():
        assert name in verdicts, name
        scores = known[name]["scores"]
        assert len(scores) == truth.SEEDS or truth.settled(name, scores, programs), name
    assert Counter(verdicts.values())["fails"] >= 150


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([0.2, 0.25, 0.9], "fails"),
        ([0.5, 0.6, 0.55], "worse"),
        ([0.5, 0.6, 0.93], "unclear"),
        ([0.8, 0.8, 0.8], "unclear"),
        ([0.9, 0.5, 0.95], "no harm"),
    ],
)
def test_verdict_goes_by_the_median_seed(scores, expected):
    assert truth.verdict(scores, sound=[0.9, 1.0, 1.0], chance=0.2) == expected


CONSOLE = """\
╭─ IW201 vanishing_gradient ─────────────────────╮
│ The gradient fades (IW103 says more).          │
╰──────────────────────────────── error, step 0 ─╯
╭─ IW501 stalled_loss ───────────────────────────╮
│ evidence  loss 2.3                             │
╰───────────────────────────── warning, step 99 ─╯
╭─ IW601 unscaled_input ─────────────────────────╮
╰───────────────────────────────── info, step 0 ─╯
initwatch: IW201 withdrawn: the run learns all the same.
"""


def test_what_was_printed_and_not_withdrawn():
    assert score.said(CONSOLE) == ["IW501"]
    assert score.said(CONSOLE.rsplit("initwatch", 1)[0]) == ["IW201", "IW501"]


def test_counts_of_made_up_reports():
    finding = {"severity": "error", "code": "IW101", "symptom": "initializer_mismatch"}
    finding |= {"layers": [], "step": 0, "message": "Too large."}
    found = {"findings": [finding], "advice": [{"kind": "initializer", "code": "x"}]}
    results = {"a/weights_x100": [found], "a/rate_x1000": [found], "a/sound_adamw": [found]}
    verdicts = {"a/weights_x100": "fails", "a/rate_x1000": "fails", "a/sound_adamw": "no harm"}
    counts = score.sick(results, verdicts, operators(), half)
    assert (counts["fails"], counts["fails_found"], counts["fails_named"]) == (2, 2, 1)
    assert counts["fails_advised"] == 1
    assert (counts["sound_changes"], counts["sound_changes_alarmed"]) == (1, 1)


@pytest.mark.parametrize("name", ["wine", "customers", "convnet_batchnorm", "lstm_forecast"])
def test_a_model_built_again_predicts_the_same(programs, name):
    run = programs[name].make()
    x = keras.tree.map_structure(lambda a: a[:8], run.x)
    copy = rebuilt(run.model, lambda layer, config: None)
    np.testing.assert_allclose(run.model(x), copy(x), rtol=1e-5, atol=1e-6)
    assert [x.name for x in parts(copy)] == [x.name for x in parts(run.model)]


@pytest.mark.slow
def test_a_sound_program_and_a_mutant_end_to_end(programs):
    sound, mutant = (runner.watched(name, 1) for name in (TINY, f"{TINY}/weights_x100"))
    counts = score.sound({TINY: sound}, programs)
    assert counts["runs"] == 1
    assert counts["faults"] == counts["crashes"] == counts["not_learned"] == 0
    assert counts["runs_with_alarm"] == 0
    assert score.judged(mutant[0], operators()["weights_x100"])["found"]
