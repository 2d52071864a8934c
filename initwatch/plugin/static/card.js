// The card of one layer: what it is, what was found, what to do, how it went.

import { beforeAfter, curve, ridges } from "./charts.js";
import { h } from "./dom.js";
import { pairs } from "./findings.js";
import { copy } from "./host.js";
import { codeBlock, glyph, standing } from "./marks.js";
import { figure, words } from "./scales.js";

// The curves that tell most, in this order; of what the log holds.
const CURVES = [
  "activation_rms",
  "activation_std",
  "delta_rms",
  "delta_norm",
  "gradient_rms",
  "update_ratio",
  "weight_std",
  "dead_fraction",
  "activation_slope",
  "activation_similarity",
];
const ABOUT = {
  signal_ratio: "largest over smallest activation along the depth; 1 is even",
  gradient_ratio: "largest over smallest gradient along the depth; 1 is even",
  sensitivity: "by how many times itself the loss would change with a kernel's own size",
  gradient_left: "share of the gradient left at the input, by theory",
  signal_left: "share of the signal left at the output, by theory",
  sigma_w2: "fan_in × variance of the weights",
  chi: "theory's factor of the gradient's square per layer; 1 keeps its size",
};

/** The quantities whose curves a card shows. */
export function curvesOf(run) {
  const byName = new Map(run.quantities.map((quantity) => [quantity.name, quantity]));
  return CURVES.map((name) => byName.get(name)).filter(Boolean);
}

/** The advice that concerns a layer: for it, or for no layer and a finding that it is in. */
function adviceFor(run, path, findings) {
  const codes = findings.map((finding) => finding.code);
  return run.advice.filter(
    (item) =>
      item.layers.includes(path) ||
      (!item.layers.length && item.codes.some((code) => codes.includes(code))),
  );
}

/**
 * shown: {name, short, run, path, step, curves: Map quantity -> [{steps, values, place}] or null
 * while it loads, histograms: list or null, position, prefix}.
 */
export function card(app, shown) {
  const { run, path } = shown;
  const layer = run.layers.find((one) => one.path === path);
  const findings = run.findings.filter((finding) => finding.layers.includes(path));
  const advice = adviceFor(run, path, findings);
  const facts = [
    ["type", layer.class_name],
    ["activation", layer.activation],
    ["initializer", layer.initializer],
    ["kernel", layer.shape ? layer.shape.join(" × ") : null],
    ["fan in, fan out", layer.fan_in ? `${figure(layer.fan_in)}, ${figure(layer.fan_out)}` : null],
    ["outputs", figure(layer.outputs)],
    ["parameters", figure(layer.parameters)],
  ].filter(([, value]) => value !== null && value !== undefined);
  const marks = [
    layer.is_output ? "output of the model" : null,
    layer.frozen ? "frozen" : null,
    layer.normalized ? "normalised before the next kernel" : null,
    layer.trunk ? null : "inside a branch",
  ].filter(Boolean);
  const place = run.layers.indexOf(layer);
  const go = (to) => () => app.open(shown.name, run.layers[to].path);
  return h(
    "div",
    { class: "card-body" },
    h(
      "header",
      {},
      h(
        "div",
        {},
        h("h2", { id: "card-title" }, path),
        h("p", { class: "muted" }, `layer ${place + 1} of ${run.layers.length} in signal order, run ${shown.name}`),
      ),
      h("button", { type: "button", disabled: place === 0, "aria-label": "Layer before", click: go(place - 1) }, "↑"),
      h("button", { type: "button", disabled: place === run.layers.length - 1, "aria-label": "Layer behind", click: go(place + 1) }, "↓"),
      h("button", { type: "button", class: "close", "aria-label": "Close the card", click: () => app.close() }, "✕"),
    ),
    h("dl", {}, facts.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])),
    marks.length ? h("p", { class: "muted" }, `${marks.join(", ")}.`) : null,
    findings.length
      ? h(
          "ul",
          { class: "chips" },
          findings.map((finding) =>
            h(
              "li",
              { class: finding.severity, title: finding.message },
              glyph(finding.severity, 12),
              `${finding.severity} ${finding.code} ${words(finding.symptom)}, step ${finding.step}, ${standing(finding)}`,
            ),
          ),
        )
      : h("p", {}, glyph("healthy", 13), " Nothing was found on this layer."),
    advice.map((item) => adviceBlock(item)),
    h("h3", {}, "Course"),
    h("div", { class: "smalls" }, curvesOf(run).map((quantity) => curveOrWait(shown, quantity))),
    h("h3", {}, "Histograms"),
    histogramsBlock(shown),
  );
}

function adviceBlock(item) {
  const rows = item.measured ? pairs(item.measured) : pairs(item.predicted);
  const explained = rows.map(({ name }) => ABOUT[name] && `${words(name)}: ${ABOUT[name]}`).filter(Boolean);
  return h(
    "section",
    { class: "advice" },
    h("h3", {}, "What to do"),
    codeBlock(item.code, copy),
    item.layers.length > 1 ? h("p", { class: "muted" }, `The same for ${item.layers.length} layers.`) : null,
    h("p", {}, item.reason),
    rows.length ? h("h4", {}, item.measured ? "Measured on a batch of this training" : "By theory; no trial ran") : null,
    rows.length ? beforeAfter(rows) : null,
    explained.length ? h("p", { class: "muted" }, `${explained.join(". ")}.`) : null,
  );
}

function curveOrWait(shown, quantity) {
  const series = shown.curves.get(quantity.name);
  if (!series) return h("figure", { class: "small" }, h("figcaption", {}, words(quantity.name), " …"));
  const measured = series.filter((one) => one.values.some((value) => value !== null));
  return measured.length ? curve(measured, quantity, shown.step) : null;
}

function histogramsBlock({ histograms }) {
  if (histograms === null) return h("p", { class: "muted" }, "Loading …");
  if (!histograms.length) return h("p", { class: "muted" }, "None were logged of this layer.");
  const groups = new Map();
  for (const one of histograms) {
    const title = one.variable ? `${one.quantity} of ${one.variable}` : one.quantity;
    if (!groups.has(title)) groups.set(title, []);
    groups.get(title).push(one);
  }
  return [
    h("p", { class: "muted" }, "The oldest at the back; height by the square root, each to its own top."),
    h("div", { class: "smalls" }, [...groups].map(([title, list]) => ridges(title, list))),
  ];
}
