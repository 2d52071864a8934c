// The signal by depth: how large it is at each layer, at one step, against theory's line.

import { h, s } from "./dom.js";
import { axis, extent, figure, middle, nearest, tickText } from "./scales.js";

const HEIGHT = 132;
const LEFT = 44; // room for the ticks' text
const RIGHT = 8;
const DOTS = 80; // of more layers only lines are drawn

// What is plotted: the first of these that a log holds.
export const DIRECTIONS = [
  {
    key: "forward",
    title: "Forward: size of the signal, input → output",
    names: ["activation_rms", "activation_std"],
  },
  {
    key: "backward",
    title: "Backward: size of the gradient, input ← output",
    names: ["delta_rms", "delta_norm"],
  },
];

/** The quantity of a direction that a run has, or null. */
export function quantityOf(run, direction) {
  const names = run.quantities.map((quantity) => quantity.name);
  return direction.names.find((name) => names.includes(name)) ?? null;
}

/**
 * The plot. shown: {runs: [{name, run, matrices: {forward, backward}}], step, layer, flagged}.
 * The matrices may be null: not loaded yet, or not logged.
 */
export function depthPlot(app, shown, width) {
  return DIRECTIONS.map((direction) => panel(app, shown, direction, width));
}

function panel(app, shown, direction, width) {
  const count = Math.max(...shown.runs.map(({ run }) => run.layers.length));
  const series = shown.runs.map((entry, place) => seriesOf(entry, direction, shown.step, place));
  const known = series.filter((one) => one.values);
  const range = extent(known.flatMap((one) => [one.values, one.theory]), true);
  const y = axis(range, true);
  const inner = width - LEFT - RIGHT;
  const px = (layer) => LEFT + ((layer + 0.5) / count) * inner;
  const py = (value) => 6 + (1 - y.at(value)) * (HEIGHT - 12);
  const parts = y.ticks.map((tick) => [
    s("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: py(tick), y2: py(tick) }),
    s("text", { class: "tick", x: LEFT - 6, y: py(tick) + 4, "text-anchor": "end" }, tickText(tick)),
  ]);
  const wide = inner / count;
  for (const [first, last] of shown.flagged) {
    const size = { x: px(first) - wide / 2, width: (last - first + 1) * wide };
    parts.push(s("rect", { class: "flagged", y: 6, height: HEIGHT - 12, ...size }));
  }
  if (shown.layer >= 0) {
    const at = px(shown.layer);
    parts.push(s("line", { class: "pointed", x1: at, x2: at, y1: 6, y2: HEIGHT - 6 }));
  }
  for (const one of known) {
    const line = (values, keep) =>
      values
        .map((value, layer) => [value, layer])
        .filter(([value, layer]) => positive(value) && keep(layer))
        .map(([value, layer], k) => `${k ? "L" : "M"}${px(layer).toFixed(1)} ${py(value).toFixed(1)}`)
        .join("");
    const trunk = (layer) => one.layers[layer].trunk;
    parts.push(s("path", { class: `theory run-${one.place}`, d: line(one.theory, () => true) }));
    parts.push(s("path", { class: `signal run-${one.place}`, d: line(one.values, trunk) }));
    if (count <= DOTS) {
      one.values.forEach((value, layer) => {
        if (positive(value)) parts.push(dot(one, layer, px(layer), py(value)));
      });
    }
    one.values.forEach((value, layer) => {
      if (value === null || positive(value)) return;
      // zero, NaN and infinity have no place on a log axis: a cross at its end
      const end = value === "Infinity" ? 9 : HEIGHT - 9;
      const d = `M${px(layer) - 3} ${end - 3} l6 6 m0 -6 l-6 6`;
      const title = s("title", {}, `${one.layers[layer].path}: ${figure(value)}`);
      parts.push(s("path", { class: `broken run-${one.place}`, d }, title));
    });
  }
  const svg = s(
    "svg",
    {
      class: "depth",
      width,
      height: HEIGHT,
      role: "img",
      "aria-label": `${direction.title}. ${known.map(leftText).filter(Boolean).join(". ")}`,
      click: (event) => {
        const box = svg.getBoundingClientRect();
        const layer = Math.floor(((event.clientX - box.left - LEFT) / inner) * count);
        const { name, run } = shown.runs[0];
        if (layer >= 0 && layer < run.layers.length) app.open(name, run.layers[layer].path);
      },
    },
    parts,
  );
  const said = known
    .map((one) => [one, leftText(one)])
    .filter(([, text]) => text)
    .map(([one, text]) =>
      h("div", { class: `left run-${one.place}` }, shown.runs.length > 1 ? `${one.short}: ` : "", text),
    );
  const loading = shown.runs.some(({ run }) => quantityOf(run, direction)) && !known.length;
  return h(
    "div",
    { class: "direction", "data-direction": direction.key },
    h("h3", {}, direction.title),
    known.length
      ? [svg, h("div", { class: "lefts" }, said)]
      : h("p", { class: "muted" }, loading ? "Loading …" : "This log does not hold it."),
  );
}

function seriesOf(entry, direction, step, place) {
  const matrix = entry.matrices[direction.key];
  const layers = entry.run.layers;
  if (!matrix) return { values: null, theory: [], layers, place };
  const column = nearest(matrix.steps, step);
  const values = matrix.row(column);
  return {
    values,
    theory: scaled(theoryAt(entry.run, step)?.[direction.key] ?? [], values, direction.key),
    layers,
    place,
    direction: direction.key,
    short: entry.short,
  };
}

/** What theory says of the weights that the run began with, or that were drawn anew since. */
function theoryAt(run, step) {
  return run.theory.findLast((one) => one.step <= step);
}

/** Theory's line is relative: it begins where the signal does, at what was measured there. */
function scaled(theory, values, direction) {
  const known = theory
    .map((value, layer) => [value, layer])
    .filter(([value, layer]) => positive(value) && positive(values[layer]));
  if (!known.length) return [];
  const [value, layer] = direction === "forward" ? known[0] : known.at(-1);
  return theory.map((one) => (positive(one) ? (one / value) * values[layer] : null));
}

/** "1.5e-11 of it is left at hidden_20": first and last hidden layer of the trunk. */
function leftText({ values, layers, direction }) {
  const hidden = layers
    .map((layer, index) => [layer, index])
    .filter(([layer, index]) => layer.trunk && !layer.is_output && layer.fan_in && positive(values[index]));
  if (hidden.length < 2) return "";
  const ends = [hidden[0], hidden.at(-1)];
  const [from, to] = direction === "forward" ? ends : ends.reverse();
  const ratio = values[to[1]] / values[from[1]];
  const name = to[0].path.split("/").at(-1);
  return ratio > 1.05
    ? `grows to ${figure(ratio, 3)} times its size at ${name}`
    : `${figure(ratio, 3)} of it is left at ${name}`;
}

function dot(one, layer, x, y) {
  const text = `${one.layers[layer].path}: ${figure(one.values[layer])}`;
  const title = s("title", {}, text);
  // runs differ by shape as well as by colour
  return one.place === 0
    ? s("circle", { class: "dot run-0", cx: x, cy: y, r: 3 }, title)
    : s("rect", { class: "dot run-1", x: x - 2.8, y: y - 2.8, width: 5.6, height: 5.6 }, title);
}

function positive(value) {
  return typeof value === "number" && value > 0 && Number.isFinite(value);
}

/** The key of the lines. */
export function depthKey(shown) {
  const sample = (kind, place) =>
    s(
      "svg",
      { width: 26, height: 10, "aria-hidden": true },
      s("path", { class: `${kind} run-${place}`, d: "M1 5 H25" }),
      kind === "signal"
        ? place === 0
          ? s("circle", { class: "dot run-0", cx: 13, cy: 5, r: 3 })
          : s("rect", { class: "dot run-1", x: 10.2, y: 2.2, width: 5.6, height: 5.6 })
        : null,
    );
  const entries = shown.runs.map((entry, place) => [
    h("span", { class: "key" }, sample("signal", place), `${entry.short}, measured`),
    theoryAt(entry.run, shown.step)
      ? h("span", { class: "key" }, sample("theory", place), "theory of its initial weights")
      : null,
  ]);
  const flagged = shown.flagged.length
    ? h("span", { class: "key" }, h("i", { class: "swatch flagged" }), `layers of ${shown.code}`)
    : null;
  return h("div", { class: "depth-key" }, entries, flagged);
}

/** Which layers stand under the plot. */
export function depthAxis(run, width) {
  const inner = width - LEFT - RIGHT;
  const count = run.layers.length;
  const names = run.layers.map(({ path }) => middle(path.split("/").at(-1), 14));
  const longest = Math.max(...names.map((name) => name.length));
  const room = Math.max(2, Math.floor(inner / (longest * 6.5 + 10)));
  // at even distances, or two of them would stand on each other
  const stride = Math.max(1, Math.ceil((count - 1) / (room - 1)));
  const last = count - 1;
  const named = [...Array(count).keys()].filter(
    (layer) => layer === last || (layer % stride === 0 && last - layer >= stride),
  );
  return h(
    "div",
    { class: "depth-axis", style: `width:${width}px` },
    named.map((layer) => {
      const at = LEFT + ((layer + 0.5) / count) * inner;
      const edge = at > width - 40 ? "end" : at < LEFT + 30 ? "start" : "";
      return h("span", { class: edge, style: `left:${at}px`, title: run.layers[layer].path }, names[layer]);
    }),
  );
}

