// What the colours of the maps mean.

import { NOT_FINITE, NOT_MEASURED, SEQUENCE, ZERO, css, pixel } from "./colour.js";
import { h } from "./dom.js";
import { MISSING } from "./matrix.js";
import { axis, figure, tickText } from "./scales.js";

const WIDTH = 220;

/** The legend of a scale; `matrices` tell which of the special colours are on the maps at all. */
export function legend(scale, quantity, matrices) {
  const bar = h("canvas", { class: "legend-bar", width: WIDTH, height: 1, "aria-hidden": true });
  const context = bar.getContext("2d");
  for (let x = 0; x < WIDTH; x += 1) {
    context.fillStyle = css(pixel(scale.colours, x / (WIDTH - 1)));
    context.fillRect(x, 0, 1, 1);
  }
  const back = scale.log ? (v) => 10 ** v : (v) => v;
  const [low, high] = [back(scale.start), back(scale.end)];
  const ticks = scale.log
    ? axis([low, high], true).ticks.map((v) => [v, (Math.log10(v) - scale.start)])
    : axis([low, high], false).ticks.map((v) => [v, v - scale.start]);
  const marks = ticks.map(([value, distance]) =>
    h(
      "span",
      { style: `left:${(100 * distance) / (scale.end - scale.start)}%` },
      scale.relative && scale.log ? `×${tickText(value)}` : tickText(value),
    ),
  );
  const has = (test) => matrices.some((matrix) => matrix.kinds.some(test));
  const keys = [];
  if (scale.log && matrices.some((matrix) => matrix.low <= 0)) keys.push(key(ZERO, "exactly 0"));
  if (has((kind) => kind > MISSING)) keys.push(key(NOT_FINITE, "NaN or infinite", "crossed"));
  if (has((kind) => kind === MISSING)) keys.push(key(NOT_MEASURED, "not measured", "hatched"));
  const dark = scale.colours === SEQUENCE ? "dark is small" : "blue is small";
  const words = scale.relative
    ? `of the step's median layer, ${dark}`
    : `${scale.log ? "log scale, " : ""}${dark}`;
  return h(
    "div",
    {
      class: "legend",
      "data-low": scale.start,
      "data-high": scale.end,
      role: "img",
      "aria-label": `Colours from ${figure(low)} to ${figure(high)}`,
    },
    h("div", { class: "legend-scale" }, bar, h("div", { class: "legend-ticks" }, marks)),
    h("span", { class: "muted" }, words),
    keys,
  );
}

function key(colour, text, pattern = "") {
  const style = `background-color:${css(colour)}`;
  return h("span", { class: "key" }, h("i", { class: `swatch ${pattern}`, style }), text);
}
