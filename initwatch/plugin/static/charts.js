// Small pictures of the layer's card: a curve, bars of before and after, histograms over time.

import { h, s } from "./dom.js";
import { axis, extent, figure, spread, stroke, tickText, words } from "./scales.js";

const WIDTH = 200;
const HEIGHT = 64;
const SHOWN = 12; // histograms in one picture

/** One quantity of a layer over the steps. series: [{steps, values, place}], a run each. */
export function curve(series, quantity, step) {
  const log = quantity.scale === "log";
  const y = axis(extent(series.map((one) => one.values), log), log);
  const all = series.flatMap((one) => one.steps);
  const x = axis([Math.min(...[all[0], series.at(-1).steps[0]]), Math.max(...series.map((one) => one.steps.at(-1)))], false);
  const px = (value) => 3 + x.at(value) * (WIDTH - 6);
  const py = (value) => 4 + (1 - y.at(value)) * (HEIGHT - 8);
  const lines = series.map((one) => {
    const known = (value) => typeof value === "number" && (!log || value > 0);
    const at = one.steps.map(px);
    const d = stroke(one.values.map((value, i) => (known(value) ? [at[i], py(value)] : null)));
    const broken = at.filter((_, i) => one.values[i] !== null && !known(one.values[i]));
    const crosses = spread(broken.length, 30).map((k) =>
      s("path", { class: "broken", d: `M${broken[k] - 3} ${HEIGHT - 9} l6 6 m0 -6 l-6 6` }),
    );
    return [s("path", { class: `signal run-${one.place}`, d }), crosses];
  });
  const crossed = lines.some(([, crosses]) => crosses.length);
  const now = series.map((one) => {
    const place = one.steps.findLastIndex((value) => value <= step);
    return figure(one.values[Math.max(0, place)], 3);
  });
  const text = `${words(quantity.name)}, at step ${step}: ${now.join(" and ")}`;
  const limits = [y.low, y.high].map((value) => (log ? value.toExponential(0) : tickText(Number(value.toPrecision(3)))));
  return h(
    "figure",
    { class: "small", title: quantity.definition, "data-quantity": quantity.name },
    h("figcaption", {}, words(quantity.name), " ", h("b", {}, now.join(" | ")), crossed ? ` × ${log ? "0 or " : ""}not finite` : ""),
    s(
      "svg",
      { width: WIDTH, height: HEIGHT, role: "img", "aria-label": text },
      s("line", { class: "pointed", x1: px(step), x2: px(step), y1: 0, y2: HEIGHT }),
      lines,
      s("text", { class: "tick", x: 3, y: 10 }, limits[1].replace("e+", "e")),
      s("text", { class: "tick", x: 3, y: HEIGHT - 2 }, limits[0].replace("e+", "e")),
    ),
  );
}

/** Two bars a figure, before and after, each pair on its own scale; log where they are far apart. */
export function beforeAfter(rows) {
  return h(
    "div",
    { class: "before-after" },
    rows.map(({ name, before, after }) => {
      const numbers = [before, after].filter((v) => typeof v === "number" && Number.isFinite(v));
      const sizes = numbers.map(Math.abs).filter((v) => v > 0);
      const far = sizes.length > 1 && Math.max(...sizes) / Math.min(...sizes) > 20;
      const share = (value) => {
        if (typeof value !== "number") return value === "NaN" ? 0 : 1;
        const size = Math.abs(value);
        if (!far) return size / Math.max(...sizes, 1e-300);
        // the distance from 1 in decades: 1 is the same size at every depth
        return Math.abs(Math.log10(size)) / Math.max(...sizes.map((v) => Math.abs(Math.log10(v))), 1e-9);
      };
      const bar = (kind, value) =>
        h(
          "div",
          { class: `ba ${kind}` },
          h("span", {}, kind),
          h("i", { style: `width:${Math.max(1, 100 * Math.min(1, share(value)))}%` }),
          h("b", {}, figure(value, 3)),
        );
      return h(
        "div",
        { class: "ba-pair", role: "img", "aria-label": `${words(name)}: ${figure(before, 3)} before, ${figure(after, 3)} after` },
        h("div", { class: "ba-name" }, words(name), far ? h("span", { class: "muted" }, " (decades from 1)") : ""),
        bar("before", before),
        bar("after", after),
      );
    }),
  );
}

/** Histograms of one tensor over time, the oldest at the back. */
export function ridges(title, histograms) {
  const chosen = spread(histograms.length, SHOWN).map((k) => histograms[k]);
  const range = extent([chosen.flatMap((one) => [one.low, one.high])], false);
  if (!range) return null;
  const x = axis(range, false);
  const rise = Math.min(14, 60 / chosen.length);
  const height = 46 + rise * chosen.length;
  const shapes = chosen.map((one, k) => {
    const base = height - 14 - rise * (chosen.length - 1 - k);
    const width = (one.high - one.low) / one.counts.length;
    // each to its own height: of gradients that shrink a thousandfold the first would not be seen;
    // and by the square root, for one tall bin must not flatten all others
    const tallest = Math.max(...one.counts, 1e-300);
    const points = one.counts.map((count, bin) => {
      const at = 3 + x.at(one.low + (bin + 0.5) * width) * (WIDTH - 46);
      return `L${at.toFixed(1)} ${(base - 32 * Math.sqrt(count / tallest)).toFixed(1)}`;
    });
    const ends = [one.low, one.high].map((value) => (3 + x.at(value) * (WIDTH - 46)).toFixed(1));
    const d = `M${ends[0]} ${base}${points.join("")}L${ends[1]} ${base}`;
    const label = k === 0 || k === chosen.length - 1 || chosen.length <= 5;
    return [
      s("path", { class: "ridge", d, style: `--age:${chosen.length < 2 ? 1 : k / (chosen.length - 1)}` }),
      label ? s("text", { class: "tick", x: WIDTH - 2, y: base, "text-anchor": "end" }, `${one.step}`) : null,
    ];
  });
  const ticks = spread(x.ticks.length, 3).map((k) => x.ticks[k]);
  return h(
    "figure",
    { class: "small", "data-histogram": title },
    h("figcaption", {}, title, h("span", { class: "muted" }, " by step")),
    s(
      "svg",
      { width: WIDTH, height, role: "img", "aria-label": `Histograms of ${title} at ${histograms.length} steps` },
      shapes,
      ticks.map((tick) =>
        s("text", { class: "tick", x: 3 + x.at(tick) * (WIDTH - 46), y: height - 2, "text-anchor": "middle" }, tickText(tick)),
      ),
    ),
  );
}
