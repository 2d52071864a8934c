// The map of layer by step, with the loss above it and the findings on both.

import { h, s, themed } from "./dom.js";
import { glyph, graver, gravest } from "./marks.js";
import { edges } from "./matrix.js";
import { cells, put } from "./paint.js";
import { axis, extent, figure, middle, nearest, spread, stroke, tickText } from "./scales.js";

const LOSS_HEIGHT = 64;
const LANE = 20; // height of a lane of findings
const MOST_LANES = 3;
const ROW = 21; // a row is as high at most, and the whole map TALL
const TALL = 430;
const LABEL = 14; // least height of a row's label
const ROOMY = 200; // width of the labels from which on a row also says what its layer is

/**
 * One run's map. `app` has state, change(patch), open(run, path), choose(run, finding).
 *
 * What it shows is handed to `draw`, see app.js; it keeps nothing but its elements and the image
 * of the cells, which is made anew only when the cells are others.
 */
export class HeatMap {
  constructor(app, name) {
    this.app = app;
    this.name = name;
    this.drawn = [];
    this.canvas = h("canvas", { class: "cells" });
    this.band = h("div", { class: "band-row" });
    this.line = h("div", { class: "band-column" });
    this.brush = h("div", { class: "brush", hidden: true });
    this.bars = h("div", { class: "bars" });
    this.plot = h(
      "div",
      {
        class: "plot",
        tabindex: 0,
        role: "application",
        "aria-roledescription": "heat map",
        keydown: (event) => this.key(event),
        pointerdown: (event) => this.press(event),
        pointermove: (event) => this.move(event),
        pointerup: (event) => this.release(event),
        pointerleave: () => this.hover(null),
        dblclick: () => this.app.change({ view: { x: [0, 1], y: [0, 1] } }),
      },
      this.canvas,
      this.bars,
      this.band,
      this.line,
      this.brush,
    );
    this.plot.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    this.labels = h("div", { class: "labels" });
    this.lossTitle = h("div", { class: "side" });
    this.loss = h("div", { class: "loss" });
    this.lanesTitle = h("div", { class: "side" }, "findings");
    this.lanes = h("div", { class: "lanes" });
    this.ticks = h("div", { class: "steps" });
    this.readout = h("div", { class: "readout", "aria-live": "polite", "data-readout": name });
    this.element = h(
      "div",
      { class: "map", "data-run": name },
      this.lossTitle,
      this.loss,
      this.lanesTitle,
      this.lanes,
      this.labels,
      this.plot,
      h("div", { class: "side" }, "step"),
      this.ticks,
      this.readout,
    );
  }

  draw(shown) {
    this.shown = shown;
    const { run, rows, view, matrix } = shown;
    const columns = run.steps.length;
    this.element.classList.toggle("bare", !shown.labels);
    const width = Math.max(60, this.loss.clientWidth);
    this.from = Math.min(columns - 1, Math.floor(view.x[0] * columns));
    this.to = Math.max(this.from + 1, Math.ceil(view.x[1] * columns));
    this.top = Math.min(rows.length - 1, Math.floor(view.y[0] * rows.length));
    this.bottom = Math.max(this.top + 1, Math.ceil(view.y[1] * rows.length));
    const count = rows.length ? this.bottom - this.top : 0;
    const height = count ? Math.min(TALL, Math.max(count * ROW, 2 * ROW)) : 2 * ROW;
    Object.assign(this, { width, height });
    this.plot.style.height = `${height}px`;
    this.plot.setAttribute(
      "aria-label",
      `${shown.quantity.name} of ${run.layers.length} layers by step, run ${this.name}. ` +
        "Arrow keys move, Enter opens the layer, plus and minus zoom, 0 shows all.",
    );
    if (matrix && count) this.paint(shown, width, height, count);
    else this.clear();
    this.drawLabels(count, height);
    this.drawLoss(width);
    this.drawFindings(width, height);
    this.drawSteps(width);
    this.drawSelection();
  }

  clear() {
    this.drawn = [];
    this.canvas.getContext("2d").clearRect(0, 0, this.canvas.width, this.canvas.height);
  }

  paint(shown, width, height, count) {
    const { matrix, rows, scale, theme } = shown;
    const key = [matrix, rows, scale, theme, width, height, this.from, this.to, this.top, this.bottom];
    if (key.every((part, place) => part === this.drawn[place])) return;
    this.drawn = key;
    const ratio = window.devicePixelRatio || 1;
    const across = Math.min(this.to - this.from, Math.round(width * ratio));
    const down = Math.min(count, Math.round(height * ratio));
    this.gathered = Math.ceil((this.to - this.from) / across);
    this.stacked = Math.ceil(count / down);
    const image = cells(
      matrix,
      rows,
      edges(this.top, this.bottom, down),
      edges(this.from, this.to, across),
      scale,
    );
    put(this.canvas, image, width, height, themed("--surface"));
  }

  // ------------------------------------------------------------------ beside the cells

  drawLabels(count, height) {
    const { rows, run, prefix, labels } = this.shown;
    if (!labels) return this.labels.replaceChildren();
    const each = height / Math.max(count, 1);
    const flagged = gravest(run.findings);
    const stride = Math.max(1, Math.ceil(LABEL / each));
    const places = Array.from({ length: Math.ceil(count / stride) }, (_, k) => k * stride);
    const room = Math.floor(this.labels.clientWidth / 6.4);
    this.labels.style.height = `${height}px`;
    this.labels.replaceChildren(
      ...places.map((place) => {
        const row = rows[this.top + place];
        const layer = run.layers[row.layers[0]];
        const name = row.label.startsWith(prefix) ? row.label.slice(prefix.length) : row.label;
        const severity = row.layers
          .map((index) => flagged.get(run.layers[index].path))
          .reduce(graver, undefined);
        const about = row.group || this.labels.clientWidth < ROOMY ? "" : described(layer);
        const shortName = middle(name, Math.max(8, room - (about ? 12 : 5)));
        return h(
          "button",
          {
            class: "label",
            type: "button",
            tabindex: -1, // the map itself is walked with arrow keys
            style: `top:${(place + 0.5) * each}px`,
            title: row.group ? row.label : `${layer.path}\n${described(layer)}${severity ? `\n${severity}` : ""}`,
            click: () => this.enter(this.top + place),
          },
          h("span", { class: "flag" }, severity ? glyph(severity, 11) : null),
          h("span", { class: "name" }, shortName),
          h("span", { class: "about" }, about),
        );
      }),
    );
  }

  x(column) {
    return ((column - this.from + 0.5) / (this.to - this.from)) * this.width;
  }

  drawLoss(width) {
    const { run, lossAxis } = this.shown;
    const y = (value) => 4 + (1 - lossAxis.at(value)) * (LOSS_HEIGHT - 8);
    const losses = run.per_step.loss ?? [];
    const trivial = run.per_step.trivial_loss ?? [];
    const path = (values) =>
      stroke(
        values.slice(this.from, this.to).map((value, i) =>
          typeof value === "number" ? [this.x(this.from + i), y(value)] : null,
        ),
      );
    const broken = losses
      .map((value, i) => [value, i])
      .filter(([value, i]) => typeof value === "string" && i >= this.from && i < this.to);
    const crosses = spread(broken.length, 60)
      .map((k) => broken[k][1])
      .map((i) => s("path", { class: "broken", d: `M${this.x(i) - 3} 3 l6 6 m0 -6 l-6 6` }));
    this.loss.replaceChildren(
      s(
        "svg",
        {
          width,
          height: LOSS_HEIGHT,
          role: "img",
          "aria-label": `Loss: ${figure(losses[0] ?? null)} at first, ${figure(losses.at(-1) ?? null)} at last`,
        },
        lossAxis.ticks.map((tick) =>
          s("line", { class: "grid", x1: 0, x2: width, y1: y(tick), y2: y(tick) }),
        ),
        s("path", { class: "guess", d: path(trivial) }),
        s("path", { class: "curve", d: path(losses) }),
        crosses,
      ),
    );
    const trivialText = trivial.some((v) => typeof v === "number")
      ? h("span", { class: "muted" }, "- - constant guess")
      : null;
    const ticks = spread(lossAxis.ticks.length, 3).map((k) => lossAxis.ticks[k]);
    this.lossTitle.replaceChildren(
      h("span", {}, "loss"),
      trivialText ?? "",
      ...ticks.map((tick) => h("span", { class: "tick", style: `top:${y(tick)}px` }, tickText(tick))),
    );
  }

  /** A lane above the map has each finding at its step; a bar on the map spans its layers. */
  drawFindings(width, height) {
    const { run, rows, finding: chosen } = this.shown;
    const ends = [];
    const marks = [];
    const bars = [];
    const rowOf = new Map();
    rows.forEach((row, place) => row.layers.forEach((index) => rowOf.set(run.layers[index].path, place)));
    const each = height / Math.max(1, this.bottom - this.top);
    const unseen = [];
    run.findings.forEach((finding, index) => {
      const column = nearest(run.steps, finding.step);
      if (column < this.from || column >= this.to) return;
      const at = this.x(column);
      const size = 62;
      const left = Math.max(0, Math.min(at - 7, width - size));
      let lane = ends.findIndex((end) => end <= left);
      if (lane < 0) lane = ends.length;
      if (lane >= MOST_LANES) return unseen.push(finding);
      ends[lane] = left + size + 2;
      const where = `step ${finding.step}`;
      marks.push(
        h(
          "button",
          {
            class: `mark ${finding.severity}`,
            type: "button",
            style: `left:${left}px;top:${lane * LANE}px`,
            title: `${finding.severity}: ${finding.symptom} at ${where}\n${finding.message}`,
            "aria-label": `${finding.severity} ${finding.code} ${finding.symptom} at ${where}`,
            "aria-pressed": String(index === chosen),
            "data-code": finding.code,
            click: () => this.app.choose(this.name, index),
          },
          glyph(finding.severity, 12),
          finding.code,
        ),
      );
      const places = finding.layers.map((path) => rowOf.get(path)).filter((p) => p !== undefined);
      for (const [first, last] of runsOf(places)) {
        const top = Math.max(0, (first - this.top) * each);
        const end = Math.min(height, (last + 1 - this.top) * each);
        if (end <= top) continue;
        const style = `left:${at - 2 + 5 * lane}px;top:${top}px;height:${end - top}px`;
        bars.push(h("i", { class: `bar ${finding.severity}${index === chosen ? " chosen" : ""}`, style }));
      }
    });
    if (unseen.length) {
      const text = `+${unseen.length}`;
      const title = unseen.map((f) => `${f.code} ${f.symptom}, step ${f.step}`).join("\n");
      marks.push(h("span", { class: "more", title }, text));
    }
    this.laneCount = Math.max(1, ends.length);
    this.lanes.replaceChildren(...marks);
    this.bars.replaceChildren(...bars);
  }

  setLanes(count) {
    this.lanes.style.height = `${count * LANE}px`;
  }

  drawSteps(width) {
    const { run } = this.shown;
    const count = this.to - this.from;
    const ticks = spread(count, Math.max(2, Math.floor(width / 60))).map((place) => {
      const column = this.from + place;
      const at = this.x(column);
      const edge = at < 16 ? "start" : at > width - 16 ? "end" : "";
      return h("span", { class: edge, style: `left:${at}px` }, String(run.steps[column]));
    });
    this.ticks.replaceChildren(...ticks);
  }

  // ------------------------------------------------------------------ what is pointed at

  drawSelection() {
    const { step, row } = this.hovered ?? this.shown;
    const inside = step >= this.from && step < this.to;
    const [w, hgt] = [this.width / (this.to - this.from), this.height / (this.bottom - this.top)];
    const wide = Math.max(w, 2);
    this.line.hidden = !inside;
    Object.assign(this.line.style, { left: `${this.x(step) - wide / 2}px`, width: `${wide}px` });
    this.band.hidden = !(row >= this.top && row < this.bottom);
    const [top, height] = [`${(row - this.top) * hgt}px`, `${Math.max(hgt, 2)}px`];
    Object.assign(this.band.style, { top, height });
    this.readout.replaceChildren(...this.read(step, row));
  }

  read(step, row) {
    const { rows, run, matrix, quantity } = this.shown;
    const gathered = this.gathered > 1 ? ` Each column is the mean of up to ${this.gathered} logged steps.` : "";
    const stacked = this.stacked > 1 ? ` Each row is the mean of up to ${this.stacked} layers.` : "";
    const note = gathered + stacked ? [h("span", { class: "muted" }, gathered + stacked)] : [];
    if (!rows.length) return ["No layer matches the search."];
    if (!matrix) return [this.shown.held ? "Loading …" : `This log does not hold ${quantity.name}.`];
    if (!(row >= 0) || row >= rows.length) {
      return [h("span", { class: "muted" }, "Point at a cell, or walk with the arrow keys."), ...note];
    }
    const chosen = rows[row];
    const values = chosen.layers.map((index) => figure(matrix.cell(step, index)));
    const text = chosen.group
      ? `${figure(extent([chosen.layers.map((i) => matrix.cell(step, i))], false) ?? null)} (lowest, highest)`
      : values[0];
    return [
      h("b", {}, chosen.group ? chosen.label : run.layers[chosen.layers[0]].path),
      `, step ${run.steps[step]}: ${quantity.name} `,
      h("b", { class: "value" }, text),
      ...note,
    ];
  }

  cellAt(event) {
    const box = this.plot.getBoundingClientRect();
    const x = Math.min(Math.max(event.clientX - box.left, 0), box.width - 0.01);
    const y = Math.min(Math.max(event.clientY - box.top, 0), box.height - 0.01);
    return {
      step: this.from + Math.floor((x / box.width) * (this.to - this.from)),
      row: this.top + Math.floor((y / box.height) * (this.bottom - this.top)),
      x: x / box.width,
      y: y / box.height,
    };
  }

  hover(cell) {
    this.hovered = cell;
    if (this.shown) this.drawSelection();
  }

  press(event) {
    if (event.button !== 0) return;
    this.start = this.cellAt(event);
    this.plot.setPointerCapture(event.pointerId);
  }

  move(event) {
    const cell = this.cellAt(event);
    this.hover(cell);
    if (!this.start) return;
    const [a, b] = [this.start, cell];
    const wide = Math.abs(a.x - b.x) * this.width;
    const tall = Math.abs(a.y - b.y) * this.height;
    this.dragged = wide > 6 || tall > 6;
    this.brush.hidden = !this.dragged;
    Object.assign(this.brush.style, {
      left: `${100 * Math.min(a.x, b.x)}%`,
      top: `${100 * Math.min(a.y, b.y)}%`,
      width: `${wide}px`,
      height: `${tall}px`,
    });
  }

  release(event) {
    if (!this.start) return;
    const [a, b] = [this.start, this.cellAt(event)];
    this.start = null;
    this.brush.hidden = true;
    this.hovered = null;
    if (!this.dragged) {
      this.select(b.step, b.row);
      return this.enter(b.row);
    }
    this.dragged = false;
    const inside = (range, p, q) => {
      const size = range[1] - range[0];
      return [range[0] + Math.min(p, q) * size, range[0] + Math.max(p, q) * size];
    };
    const { view } = this.shown;
    // a stroke along one axis zooms that axis
    const x = Math.abs(a.x - b.x) * this.width > 6 ? inside(view.x, a.x, b.x) : view.x;
    const y = Math.abs(a.y - b.y) * this.height > 6 ? inside(view.y, a.y, b.y) : view.y;
    this.app.change({ view: { x, y } });
  }

  wheel(event) {
    if (!event.ctrlKey) return; // the page scrolls
    event.preventDefault(); // or the browser zooms the page
    this.zoom(event.deltaY > 0 ? 1.25 : 0.8, this.cellAt(event), event.shiftKey ? "x" : "y");
  }

  /** Zooms rows (or columns) about a place. */
  zoom(factor, about, axisName = "y") {
    const { view, rows, run } = this.shown;
    const range = view[axisName];
    const least = 1 / Math.max(1, axisName === "y" ? rows.length : run.steps.length);
    const size = Math.min(1, Math.max(least, (range[1] - range[0]) * factor));
    const centre = range[0] + about[axisName] * (range[1] - range[0]);
    const low = Math.min(Math.max(0, centre - about[axisName] * size), 1 - size);
    this.app.change({ view: { ...view, [axisName]: [low, low + size] } });
  }

  select(step, row) {
    const { run, rows } = this.shown;
    const chosen = rows[row];
    if (!chosen) return;
    // keys come faster than frames: the next one starts from here
    Object.assign(this.shown, { step, row });
    this.app.change({ step: run.steps[step], layer: run.layers[chosen.layers[0]].path });
  }

  /** A layer's row opens its card; a group's row is zoomed into. */
  enter(row) {
    const chosen = this.shown.rows[row];
    if (!chosen) return;
    const path = this.shown.run.layers[chosen.layers[0]].path;
    if (chosen.group) this.app.expand(this.name, chosen);
    else this.app.open(this.name, path);
  }

  key(event) {
    const { run, rows, step } = this.shown;
    const row = Math.max(0, this.shown.row);
    const last = run.steps.length - 1;
    const page = event.shiftKey ? 10 : 1;
    const moves = {
      ArrowLeft: [step - page, row],
      ArrowRight: [step + page, row],
      ArrowUp: [step, this.shown.row < 0 ? 0 : row - page],
      ArrowDown: [step, this.shown.row < 0 ? 0 : row + page],
      PageUp: [step, row - 10],
      PageDown: [step, row + 10],
      Home: [0, row],
      End: [last, row],
    };
    if (event.key in moves) {
      const [s0, r0] = moves[event.key];
      const to = [Math.min(last, Math.max(0, s0)), Math.min(rows.length - 1, Math.max(0, r0))];
      this.hovered = null;
      this.follow(...to);
      this.select(...to);
    } else if (event.key === "Enter") {
      this.enter(row);
    } else if (event.key === "+" || event.key === "-" || event.key === "=") {
      const about = { x: 0.5, y: (row - this.top + 0.5) / (this.bottom - this.top) };
      this.zoom(event.key === "-" ? 1.5 : 1 / 1.5, about);
    } else if (event.key === "0") {
      this.app.change({ view: { x: [0, 1], y: [0, 1] } });
    } else {
      return;
    }
    event.preventDefault();
  }

  /** Moves a zoomed view along with the selected cell. */
  follow(step, row) {
    const { view, rows, run } = this.shown;
    const moved = (range, from, to, place, count) => {
      if (place >= from && place < to) return range;
      const shift = (place < from ? place - from : place + 1 - to) / count;
      const low = Math.min(Math.max(0, range[0] + shift), 1 - (range[1] - range[0]));
      return [low, low + range[1] - range[0]];
    };
    const x = moved(view.x, this.from, this.to, step, run.steps.length);
    const y = moved(view.y, this.top, this.bottom, row, rows.length);
    if (x !== view.x || y !== view.y) this.app.change({ view: { x, y } });
  }
}

/** Runs of neighbours in a list of places: [[first, last]]. */
function runsOf(places) {
  const sorted = [...new Set(places)].sort((a, b) => a - b);
  const out = [];
  for (const place of sorted) {
    if (out.length && place === out.at(-1)[1] + 1) out.at(-1)[1] = place;
    else out.push([place, place]);
  }
  return out;
}

/** "Dense, relu, RandomNormal(stddev=0.05)". */
function described(layer) {
  const initializer = (layer.initializer ?? "").replace(/^.*initializers\./, "").replace(/\(\)$/, "");
  return [layer.class_name, layer.activation, initializer].filter(Boolean).join(" · ");
}

/** One axis for the losses of all runs shown. */
export function lossAxisOf(runs) {
  return axis(extent(runs.flatMap((run) => [run.per_step.loss ?? [], run.per_step.trivial_loss ?? []]), false), false);
}
