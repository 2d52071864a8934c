"""What advice is worth on a folder of training set-ups whose truth was measured without initwatch.

    python -m tests.bench.published FOLDER [--only ID ...] [--out found.json]

The folder holds ``build.py`` (``load_cases``, ``build``, ``data``, ``fit_epochs``) and
``truth.json`` (``reinit_helps`` of each case, ``alarm``, and the accuracies that textbook weights
gave). Each case is trained with ``InitWatch``; its advice is what was last advised in the run, also
where that was taken back because the run learned in spite of it. Where another initializer is known
to help, the model is built again, ``reinitialize(model, report)`` is called with the report of that
moment and it is trained once more: it learns if it gains 80 % of what the least of the truth's runs
with other initializers gains. Where no kernel's initializer is known to help, the first advice
should be of another kind, or for the biases and mend it; a healthy one should have none at the end
(``taken_back`` tells whether it had any before).
"""

import argparse
import json
import sys
from pathlib import Path

import keras

import initwatch

SHARE = 0.8
MENDED = 0.2  # gained in accuracy where the truth knows of no initializer of kernels that helps


class LastAdvice(keras.callbacks.Callback):
    """The newest report of a watch that had advice, None if none had."""

    def __init__(self, watch):
        super().__init__()
        self.watch = watch
        self.report = None

    def on_train_batch_end(self, batch, logs=None):
        self.look()

    def on_train_end(self, logs=None):
        self.look()

    def look(self):
        report = self.watch.report
        if report.advice:
            self.report = report


def trained(build, case, model, callbacks=()):
    """Accuracy at the end."""
    x, y = build.data(case, 0)
    done = model.fit(
        x, y, case["batch_size"], build.fit_epochs(case), verbose=0, callbacks=list(callbacks)
    )
    return done.history["accuracy"][-1]


def outcome(build, case, truth):
    model = build.build(case, 0)
    watch = initwatch.InitWatch(console=False)
    advised = LastAdvice(watch)
    plain = trained(build, case, model, [watch, advised])
    ended = watch.report
    report = advised.report or ended
    given = [item for item in report.advice if item.kind == "initializer"]
    found = {
        "reinit_helps": truth.get("reinit_helps"),
        "healthy": truth["alarm"] == "must_not",
        "findings": sorted(f.code for f in ended.findings if f.severity != "info"),
        "taken_back": bool(report.advice) and not ended.advice,
        "kinds": list(dict.fromkeys(item.kind for item in report.advice)),
        "measured": sorted({item.kind for item in report.advice if item.measured is not None}),
        "accuracy": [round(plain, 4)],
        "problems": ended.problems,
    }
    biases = bool(given) and all(item.code.startswith("bias_initializer=") for item in given)
    if found["reinit_helps"] or (found["reinit_helps"] is False and biases):
        found["wanted"] = wanted(truth, plain)
        mended = plain
        if given:
            model = build.build(case, 0)
            initwatch.reinitialize(model, report)
            mended = trained(build, case, model)
        found["accuracy"].append(round(mended, 4))
    return found


def wanted(truth, plain):
    """The accuracy at which a mended model has learned."""
    ways = [truth[f"reinit_{way}"] for way in ("textbook", "scaled")]
    helped = [way for way in ways if way and way["helps"]]
    if not helped:
        return round(plain + MENDED, 4)
    before = helped[0]["before"][0]
    least = min(accuracy for way in helped for accuracy in way["after"])
    return round(before + SHARE * (least - before), 4)


def right(found):
    if found["healthy"]:
        return found["taken_back"] or not found["kinds"]
    if "wanted" in found:
        return found["accuracy"][-1] >= found["wanted"]
    return bool(found["kinds"]) and found["kinds"][0] != "initializer"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", nargs="*", default=[""])
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    sys.path.insert(0, str(options.folder))
    import build

    truths = json.loads((options.folder / "truth.json").read_text(encoding="utf-8"))
    results = {}
    for case in build.load_cases(unique=True):
        truth = truths[case["id"]]
        judged = truth.get("reinit_helps") is not None or truth["alarm"] == "must_not"
        if judged and case["id"].startswith(tuple(options.only)):
            results[case["id"]] = found = outcome(build, case, truth)
            print(case["id"], right(found), found, flush=True)
    if options.out:
        options.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    for name, chosen in (
        (
            "another initializer helps, and it learns",
            [f for f in results.values() if f["reinit_helps"]],
        ),
        (
            "none helps, and other advice comes first",
            [f for f in results.values() if f["reinit_helps"] is False],
        ),
        ("healthy, and no advice", [f for f in results.values() if f["healthy"]]),
    ):
        print(f"{name}: {sum(map(right, chosen))} of {len(chosen)}")


if __name__ == "__main__":
    main()
