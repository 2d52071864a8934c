"""Trains cases of the zoo in processes of their own: what they run cannot stand in ``__main__``."""

import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from multiprocessing import get_context

import initwatch
from tests.bench.zoo.healthy import HEALTHY
from tests.bench.zoo.sick import SICK
from tests.bench.zoo.training import trained

CASES_A_PROCESS = 12  # graphs of earlier cases are never quite freed
CASES = HEALTHY | SICK


def skills(name, seeds):
    return {"skills": [round(trained(CASES[name].training, seed), 3) for seed in range(seeds)]}


def reports(name, seeds):
    """What was said in each seed, and what went wrong inside."""
    found, problems = [], []
    for seed in range(seeds):
        watch = initwatch.InitWatch(console=False)
        trained(CASES[name].training, seed, watch)
        found.append(
            [
                {
                    "symptom": finding.symptom,
                    "severity": finding.severity,
                    "layer": finding.layers[0] if finding.layers else "",
                    "step": finding.step,
                    "message": finding.message,
                }
                for finding in sorted(watch.report.findings, key=lambda f: f.code)
            ]
        )
        problems += watch.report.problems
    return {"found": found, "problems": problems}


def on_each(function, names, seeds, jobs):
    """name -> what the function gave, or the crash; a process for every few cases."""
    done = {}
    began = time.time()

    def alone(group):
        with ProcessPoolExecutor(1, get_context("spawn")) as process:
            futures = {process.submit(function, name, seeds(name)): name for name in group}
            for future in as_completed(futures):
                name, error = futures[future], future.exception()
                crash = {"crash": f"{type(error).__name__}: {error}"}
                done[name] = crash if error else future.result()
                result = done[name].get("skills", ["crashed"] if error else [])
                passed = time.time() - began
                print(f"{passed:6.0f} s  {len(done)}/{len(names)}  {name}", *result, flush=True)

    groups = [names[i : i + CASES_A_PROCESS] for i in range(0, len(names), CASES_A_PROCESS)]
    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(alone, groups))
    return done
