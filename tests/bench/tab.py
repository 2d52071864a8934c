"""How long the tab takes to be drawn: logs of many layers and steps in a real TensorBoard.

    python -m tests.bench.tab [REPETITIONS]

The last line is one JSON object. ``drawn`` is of the tab's own page, from its navigation until
map, plot by depth and findings are all drawn (TensorBoard's own page loads before); ``bytes`` is
what came over the wire for it; ``answers`` the longest wait for a quantity; ``cell`` and ``zoom``
the time of one key press; ``card`` from the click on a layer until all its curves are drawn.
Times in ms: median and smallest. ``load`` is the machine's load average behind them.
"""

import json
import os
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np

from initwatch.outlets.tensorboard import TensorBoardOutlet
from initwatch.records import Finding, Kernel, LayerSpec, Report, Statistic, Subject, VariableSpec
from initwatch.records.update import Update
from tests.browser.serving import browser, drawn, open_tab, tensorboard

SIZES = ((200, 2000), (1000, 500), (20, 130))  # layers, logged steps


def write(log_dir, layers, steps, seed=0):
    """A log of a plain net whose backward signal fades, made by the outlet itself."""
    rng = np.random.default_rng(seed)
    paths = [f"net/block_{i // 10}/dense_{i}" for i in range(layers)]
    specs = tuple(_spec(path) for path in paths)
    variables = tuple(VariableSpec(f"{path}/kernel", path, "kernel", 4096) for path in paths)
    finding = Finding(
        code="IW201",
        symptom="vanishing_gradient",
        severity="error",
        layers=paths[: layers // 2],
        step=2,
        evidence={"gradient_left": 1e-6, "gradient_left_limit": 0.05},
        message="The gradient fades on its way to the input.",
    )
    fade = np.logspace(-6, 0, layers)
    outlet = TensorBoardOutlet(log_dir)
    outlet.open(0)
    for step in range(steps):
        values = {}
        for name in Statistic:
            if name.subject is Subject.STEP:
                values[name] = np.array([2.3 * 0.999**step])
            elif name.subject is Subject.INPUT:
                continue
            elif name.value.endswith(("non_finite", "fraction")):
                values[name] = np.zeros(layers)
            else:
                values[name] = fade * np.exp(0.3 * rng.standard_normal(layers))
        found = [finding] if step >= 2 else []
        report = Report(findings=found, steps_seen=step + 1, last_step=step)
        news = (finding,) if step == 2 else ()
        outlet.emit(Update(step, specs, variables, values, (), news, report))
    outlet.close(report)


def _spec(path):
    kernel = Kernel(f"{path}/kernel", (64, 64), 64, 64, (64, 64), None, "kernel_initializer")
    return LayerSpec(path, "Dense", 64, True, False, False, kernel, None, path, False)


def measure(page, address):
    """Milliseconds of one opening, and of a layer's card and another quantity in the open tab."""
    frame = open_tab(page, address)
    times = frame.evaluate(
        """() => {
            const all = performance.getEntriesByType('resource');
            const answers = all.filter((entry) => /values/.test(entry.name));
            return {
                drawn: performance.getEntriesByName('initwatch drawn')[0].startTime,
                bytes: answers.reduce((sum, e) => sum + e.encodedBodySize, 0),
                answers: Math.max(...answers.map((e) => e.duration)),
            };
        }"""
    )
    # a frame of the open tab: another cell is chosen, everything is drawn anew
    times["cell"] = frame.evaluate(
        """async () => {
            const plot = document.querySelector('.plot');
            plot.focus();
            const before = performance.now();
            plot.dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowDown', bubbles: true}));
            await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
            return performance.now() - before;
        }"""
    )
    times["zoom"] = frame.evaluate(
        """async () => {
            const before = performance.now();
            document.querySelector('.plot').dispatchEvent(
                new KeyboardEvent('keydown', {key: '+', bubbles: true}));
            await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
            return performance.now() - before;
        }"""
    )
    started = frame.evaluate("performance.now()")
    frame.locator(".label").first.click()
    frame.locator(".card .small svg").first.wait_for()
    drawn(frame)
    times["card"] = frame.evaluate("performance.now()") - started
    return times


def main(repetitions="5"):
    results = {}
    for layers, steps in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            write(Path(folder) / "run", layers, steps)
            with tensorboard(folder) as address, browser() as chromium:
                found = []
                for _ in range(int(repetitions)):
                    page = chromium.new_page(viewport={"width": 1500, "height": 1000})
                    found.append(measure(page, address))
                    page.close()
        figures = {
            name: [
                round(statistics.median(f[name] for f in found)),
                round(min(f[name] for f in found)),
            ]
            for name in found[0]
        }
        figures["load"] = round(os.getloadavg()[0], 1)
        results[f"{layers} layers x {steps} steps"] = figures
        print(f"{layers} layers x {steps} steps:", figures, flush=True)
    print(json.dumps(results))


if __name__ == "__main__":
    main(*sys.argv[1:2])
