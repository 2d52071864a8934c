"""Trains programs and mutants in processes of their own, watched or not."""

import contextlib
import importlib
import io
import os
import pkgutil
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from typing import Any

RUNS_A_PROCESS = 10  # graphs of earlier runs are never quite freed
LIMIT = 600.0  # seconds a task may take
TOO_SLOW = 8.0  # a sound program that takes so many seconds of a core has no mutants
QUIET = {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_NUM_INTRAOP_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "",
}
TOOLS = ("mutate", "pairs", "truth", "runner", "score", "applied", "__main__", "test_")
Result = dict[str, Any]


class DoesNotApplyError(Exception):
    """The operator, or the advice, cannot be applied to this program."""


def load(broken: dict[str, str] | None = None) -> dict[str, Any]:
    """All programs by name; ``broken`` is given the modules that cannot be imported, and why."""
    import tests.bench.programs as package

    for module in pkgutil.iter_modules(package.__path__):
        if module.name.startswith(TOOLS):
            continue
        try:
            importlib.import_module(f"{package.__name__}.{module.name}")
        except Exception as error:
            if broken is not None:
                broken[module.name] = f"{type(error).__name__}: {error}"
    from tests.bench.programs.program import PROGRAMS

    return PROGRAMS


def trained(
    name: str,
    seed: int,
    watch: Any = None,
    mend: Callable[[Any], Any] | None = None,
) -> float:
    """Trains a program, ``program``, or a mutant of it, ``program/operator``; gives its score.

    Args:
        name: of the program or the pair.
        seed: of the weights and the order of the batches.
        watch: an ``InitWatch``.
        mend: changes the run once more, before it is trained.

    Raises:
        DoesNotApplyError: if the operator or ``mend`` gives no run.
    """
    import keras

    from tests.bench.programs.mutate import operators

    name, _, operator = name.partition("/")
    program = load()[name]
    changes = [operators()[operator].change] if operator else []
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    before = keras.config.dtype_policy()
    try:
        original = run = program.make()
        for change in [*changes, *([mend] if mend else [])]:
            run = change(run)
            if run is None:
                raise DoesNotApplyError
        program.train(run, watch)
        return scored(program, run, original if operator else run)
    finally:
        keras.config.set_dtype_policy(before)


def scored(program: Any, run: Any, original: Any) -> float:
    """The score; what is not finite counts as chance.

    Yes and no are told apart at a half, also where a mutant's loss speaks of logits but its
    output does not: as Keras's metrics do.
    """
    import keras
    import numpy as np

    from tests.bench.programs.mutate_data import logits
    from tests.bench.programs.mutate_rebuild import end_activation

    if run is not original and run.loss is not None:
        try:
            free = end_activation(run.model)[1] == ""
        except Exception:  # no model of which it can be told
            free = logits(original.loss)
        bar = free and logits(original.loss)
        run = replace(run, loss=keras.losses.BinaryCrossentropy(from_logits=bar))
    score = float(program.score(run))
    return score if np.isfinite(score) else program.chance


# ------------------------------------------------------------------ what a process is asked for


def scores(name: str, seeds: int) -> Result:
    """Scores without initwatch, and seconds of a core a training; or why there are none."""
    from tests.bench.programs import truth

    began, found = time.process_time(), []
    try:
        for seed in range(seeds):
            found.append(round(trained(name, seed), 4))
            seconds = (time.process_time() - began) / len(found)
            if seconds > TOO_SLOW and "/" not in name:
                return {"slow": round(seconds, 1)}
            if "/" in name and truth.settled(name, found, load()):
                break
    except DoesNotApplyError:
        return {"raises": "does not apply"}
    except Exception as error:
        return {"raises": f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"}
    return {"scores": found, "seconds": round(seconds, 1)}


def watched(name: str, seeds: int) -> list[Result]:
    """What initwatch said of each seed."""
    return [_watched(name, seed) for seed in range(seeds)]


def _watched(name: str, seed: int, mend: Callable[[Any], Any] | None = None) -> Result:
    import initwatch
    from tests.bench.programs.score import said

    watch, printed, result = initwatch.InitWatch(), io.StringIO(), {}
    began = time.process_time()
    try:
        with contextlib.redirect_stdout(printed):
            result["score"] = round(trained(name, seed, watch, mend), 4)
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        text = " ".join(str(error).split())[:200]
        result["crash"] = f"{type(error).__name__} ({place.filename}:{place.lineno}): {text}"
    report = watch.report
    return result | {
        "seconds": round(time.process_time() - began, 1),
        "findings": [of_finding(finding) for finding in report.findings],
        "advice": [
            {"kind": item.kind, "layer": item.layer, "code": item.code} for item in report.advice
        ],
        "printed": said(printed.getvalue()),
        "problems": list(report.problems),
        "fault": "fault in initwatch" in printed.getvalue(),
    }


def of_finding(finding: Any) -> Result:
    """What is kept of a finding."""
    return {
        "code": finding.code,
        "symptom": finding.symptom,
        "severity": finding.severity,
        "layers": list(finding.layers[:3]),
        "step": finding.step,
        "message": finding.message,
    }


# ------------------------------------------------------------------ processes


def begin(backend: str) -> None:
    """In a new process, before anything is imported."""
    os.environ.update(QUIET | {"KERAS_BACKEND": backend})
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115  # for the life of the process
    if backend == "tensorflow":
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(1)


def on_each(
    function: Callable[..., Any], names: list[str], *arguments: Any, jobs: int, backend: str
) -> Iterator[tuple[str, Any]]:
    """(name, what ``function(name, *arguments)`` gave, or an exception), as they come."""
    os.environ.update(QUIET)
    waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
    for name in names:
        waiting.put(name)
    done: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
    stop = threading.Event()

    def serve() -> None:
        process, asked = None, 0
        while not stop.is_set():
            try:
                name = waiting.get_nowait()
            except queue.Empty:
                break
            if process is None:
                process = ProcessPoolExecutor(1, get_context("spawn"), begin, (backend,))
                asked = 0
            result: Any
            try:
                result = process.submit(function, name, *arguments).result(LIMIT)
            except Exception as error:
                result = error
            asked += 1
            if isinstance(result, Exception) or asked >= RUNS_A_PROCESS:
                _end(process, isinstance(result, TimeoutError))
                process = None
            done.put((name, result))
        if process is not None:
            _end(process, False)

    threads = [threading.Thread(target=serve, daemon=True) for _ in range(jobs)]
    for thread in threads:
        thread.start()
    try:
        for _ in names:
            yield done.get()
    finally:
        stop.set()


def _end(process: ProcessPoolExecutor, hangs: bool) -> None:
    """Ends a process, at once if it hangs."""
    if hangs:
        for child in list((process._processes or {}).values()):
            child.kill()
    process.shutdown(wait=not hangs, cancel_futures=True)


def progress(number: int, names: list[str], began: float, name: str, text: object) -> None:
    """One line on standard error."""
    passed = time.monotonic() - began
    print(f"{passed:6.0f} s  {number}/{len(names)}  {name}  {text}", file=sys.stderr, flush=True)
