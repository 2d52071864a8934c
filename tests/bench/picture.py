"""Tables and picture of what ``tests.bench.overhead`` measured. Needs matplotlib."""

from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt

PICTURE = Path(__file__).parents[2] / "examples" / "pictures" / "overhead.png"
SHOWN = {
    "initwatch": ("initwatch, default", "#0072b2"),
    "every step": ("initwatch, every step", "#56b4e9"),
    "TensorBoard": ("keras TensorBoard", "#e69f00"),
    "second pass": ("second pass a step", "#999999"),
}


def table(results):
    """Markdown: one line a network, backend and compiler."""
    names = ["again", *SHOWN]
    lines = [
        "| backend: network | plain step | plain again | "
        + " | ".join(t for t, _ in SHOWN.values()),
        "|---" * (len(names) + 2),
    ]
    for key, found in results["steps"].items():
        cells = [f"{found[n][0]:.2f} ({found[n][1]:.2f} to {found[n][2]:.2f})" for n in names]
        lines.append(f"| {key} | {found['plain step, ms']:.1f} ms | " + " | ".join(cells))
    if "start" not in results:
        return "\n".join(f"{line} |" for line in lines)
    lines += ["", "| start-up | plain, first step / all | first step | all traced", "|---" * 4]
    for key, found in results["start"].items():
        first, whole = found["plain, s"]
        ratios = f"{found['first step']:.2f} | {found['all traced']:.2f}"
        lines.append(f"| {key} | {first:.1f} s / {whole:.1f} s | {ratios}")
    if "size" in results:
        lines += ["", "| size | plain step | every step | extra a layer", "|---" * 4]
    for key, found in results.get("size", {}).items():
        middle, low, high = found["every step"]
        ratios = f"{middle:.2f} ({low:.2f} to {high:.2f}) | {found['extra a layer, ms']:.2g} ms"
        lines.append(f"| {key} | {found['plain step, ms']:.1f} ms | {ratios}")
    return "\n".join(f"{line} |" if line else line for line in lines)


def draw(results):
    """Prints the tables and writes the picture."""
    print(table(results))
    print("a batch that is not sampled, microseconds on the host:", results["host"])
    mpl.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    sizes = results.get("size", {})
    figure, axes = plt.subplots(
        1,
        1 + bool(sizes),
        figsize=(13, 4.4),
        width_ratios=[2.2, 1][: 1 + bool(sizes)],
        squeeze=False,
        layout="constrained",
    )
    left = axes[0, 0]
    steps = results["steps"]
    for i, (name, (text, color)) in enumerate(SHOWN.items()):
        places = [place + 0.2 * (i - 1.5) for place in range(len(steps))]
        middle = [found[name][0] - 1.0 for found in steps.values()]
        spread = [
            [max(0.0, found[name][0] - found[name][1]) for found in steps.values()],
            [max(0.0, found[name][2] - found[name][0]) for found in steps.values()],
        ]
        left.bar(places, middle, 0.2, label=text, color=color)
        left.errorbar(places, middle, spread, fmt="none", ecolor="#444444", elinewidth=0.8)
    short = {"tensorflow": "TF", "tensorflow, jit": "TF, XLA", "jax, jit": "JAX", "torch": "torch"}
    labels = ["{}\n{}".format(short[key.split(": ")[0]], key.split(": ")[1]) for key in steps]
    left.set_xticks(range(len(steps)), labels, fontsize=7, rotation=40, ha="right")
    left.axhline(0.0, color="black", linewidth=0.8)
    left.set_ylabel("extra time of a step / plain step")
    left.set_ylim(-0.1, 1.5)  # what stands above is written on its bar
    for place, found in enumerate(steps.values()):
        if found["every step"][0] > 2.25:
            left.text(place - 0.1, 1.2, f"{found['every step'][0] - 1.0:.1f}", ha="center")
    left.legend(frameon=False, loc="upper left", ncols=2)
    if sizes:
        by_size(axes[0, 1], sizes)
    figure.savefig(PICTURE, dpi=110)
    print(PICTURE)


def by_size(axes, sizes):
    """One line a shape of network: every step sampled, and what that is for one layer."""
    text, color = SHOWN["every step"]
    values = [found["every step"][0] - 1.0 for found in sizes.values()]
    axes.plot(values, range(len(sizes)), "o", color=color)
    for place, (value, found) in enumerate(zip(values, sizes.values(), strict=True)):
        per_layer = f"{found['extra a layer, ms']:.2g} ms a layer"
        axes.annotate(per_layer, (value, place), (6, -3), textcoords="offset points", fontsize=7)
    axes.set_yticks(range(len(sizes)), list(sizes))
    axes.invert_yaxis()
    axes.set_xlim(0.0, 1.25 * max(values))
    axes.set_xlabel(f"{text}: extra time / plain step")
