// The tab: its state, what follows from it, and the order in which things are drawn.

import { card, curvesOf } from "./card.js";
import { DIRECTIONS, depthAxis, depthKey, depthPlot, quantityOf } from "./depth.js";
import { h } from "./dom.js";
import { findingList, verdict } from "./findings.js";
import { HeatMap, lossAxisOf } from "./heatmap.js";
import { followTheme, keep, kept, onReload } from "./host.js";
import { legend } from "./legend.js";
import { shortName } from "./marks.js";
import { rowsOf } from "./matrix.js";
import { scaleOf } from "./paint.js";
import { commonPrefix, nearest } from "./scales.js";
import { Store } from "./store.js";
import { Toolbar, titleOf } from "./toolbar.js";

const POLL = 5000; // ms between two looks at runs that still train
// The quantity that shows a symptom; the first one that the log holds.
const SHOWS = {
  vanishing_gradient: ["delta_rms", "delta_norm"],
  exploding_gradient: ["delta_rms", "delta_norm"],
  zero_gradient: ["gradient_rms"],
  initializer_mismatch: ["delta_rms", "delta_norm"],
  non_finite: ["delta_rms", "gradient_rms"],
  dead_relu: ["dead_fraction"],
  saturated_activation: ["activation_slope"],
  symmetric_units: ["weight_unit_spread", "weight_std"],
  update_too_small: ["update_ratio"],
  update_too_large: ["update_ratio"],
  unchanged_weights: ["update_ratio"],
};
const FIRST = ["activation_rms", "activation_std", "delta_rms"];
// What a page that is loaded again shows as it did before.
const KEPT = ["first", "second", "quantity", "mode", "grouping", "step"];
const WHOLE = { x: [0, 1], y: [0, 1] };

export class App {
  constructor(root, api) {
    this.api = api;
    this.store = new Store(api, (error) => this.arrived(error));
    this.state = {
      runs: null,
      refused: [],
      first: null,
      second: "",
      quantity: null,
      mode: "value",
      grouping: "layers",
      search: "",
      step: null,
      layer: null,
      finding: null,
      card: null,
      view: WHOLE,
      error: "",
      theme: "",
    };
    this.maps = new Map();
    this.memory = new Map();
    this.toolbar = new Toolbar(this);
    this.alert = h("div", { class: "alert", role: "alert" });
    this.refused = h("div", { class: "alert", role: "status" });
    this.empty = h("div", { class: "empty" });
    this.verdicts = h("div", { class: "verdicts" });
    this.legend = h("div", { class: "legend-place" });
    this.mapPlace = h("div", { class: "maps" });
    this.slider = h("input", {
      type: "range",
      min: 0,
      "aria-label": "Step of the plot by depth",
      input: () => this.change({ step: this.slided[this.slider.value] }),
    });
    this.stepText = h("output");
    this.depth = h("div", {});
    this.depthPlace = h(
      "section",
      { class: "depth-place", "aria-label": "Signal by depth" },
      h("h2", {}, "Signal by depth"),
      h("label", { class: "slider" }, "step ", this.stepText, this.slider),
      this.depth,
    );
    this.findings = h("div", { class: "finding-lists" });
    this.cardPlace = h("aside", { class: "card", "aria-labelledby": "card-title", hidden: true });
    this.pictures = h("div", { class: "pictures" }, this.mapPlace, this.depthPlace);
    this.content = h(
      "div",
      { class: "content" },
      this.verdicts,
      this.legend,
      this.pictures,
      this.findings,
    );
    this.main = h("main", { "data-state": "loading" }, this.toolbar.element, this.alert, this.refused, this.empty, this.content);
    root.replaceChildren(this.main, this.cardPlace);
    document.addEventListener("keydown", (event) => event.key === "Escape" && this.close());
    new ResizeObserver(() => this.schedule()).observe(this.content);
    followTheme(() => this.change({ theme: document.documentElement.dataset.theme }));
  }

  /** Begins: fetches the runs, then looks again while one of them trains. */
  start() {
    this.refresh();
    if (!this.api.live) return;
    onReload(() => this.refresh());
    setInterval(() => this.training() && !document.hidden && this.refresh(), POLL);
  }

  training() {
    const { runs } = this.state;
    return !runs || !runs.length || this.state.error || runs.some((run) => !run.ended);
  }

  async refresh() {
    if (this.refreshing) return;
    this.refreshing = true;
    try {
      const { runs, refused } = await this.api.runs();
      this.store.retry();
      const names = runs.map((run) => run.run);
      if (!this.state.runs && this.api.live) {
        const before = kept();
        if (names.includes(before.first)) Object.assign(this.state, before);
      }
      const { first } = this.state;
      const patch = { runs, refused, error: "" };
      if (!names.includes(first)) patch.first = sickest(runs);
      if (!names.includes(this.state.second)) patch.second = "";
      Object.assign(this.state, patch);
      await this.loadShown();
    } catch (error) {
      this.state.error = error.message;
    } finally {
      this.refreshing = false;
    }
    this.schedule();
  }

  async loadShown() {
    const summaries = (this.state.runs ?? []).filter(({ run }) => this.names().includes(run));
    await Promise.all(summaries.map((summary) => this.store.load(summary)));
    this.settle();
  }

  arrived(error) {
    if (error) this.state.error = error.message;
    this.schedule();
  }

  /** Fills in what a first run leaves open: the quantity and the step that show most. */
  settle() {
    const run = this.store.run(this.state.first);
    if (!run) return;
    const names = run.quantities.filter((q) => q.subject !== "step").map((q) => q.name);
    const grave = run.findings.find((finding) => finding.severity !== "info");
    if (!names.includes(this.state.quantity)) {
      const wanted = [...(SHOWS[grave?.symptom] ?? []), ...FIRST, ...names];
      this.state.quantity = wanted.find((name) => names.includes(name)) ?? null;
    }
    if (this.state.step === null && run.steps.length) {
      this.state.step = grave ? grave.step : run.steps[0];
    }
  }

  // ------------------------------------------------------------------ what a user does

  change(patch) {
    Object.assign(this.state, patch);
    if (this.state.first === this.state.second) this.state.second = "";
    if ("first" in patch || "second" in patch) {
      Object.assign(this.state, { finding: null, card: null });
      this.loadShown().then(
        () => this.schedule(),
        (error) => this.arrived(error),
      );
    }
    if (this.api.live && this.state.runs) keep(Object.fromEntries(KEPT.map((name) => [name, this.state[name]])));
    if ("search" in patch || "grouping" in patch) this.state.view = patch.view ?? WHOLE;
    this.schedule();
  }

  /** A finding: its step and layer, the quantity that shows it, its layer's card. */
  choose(name, index) {
    const run = this.store.run(name);
    const finding = run.findings[index];
    const names = run.quantities.map((quantity) => quantity.name);
    const quantity = (SHOWS[finding.symptom] ?? []).find((one) => names.includes(one));
    this.change({
      finding: { run: name, index, code: finding.code },
      step: finding.step,
      quantity: quantity ?? this.state.quantity,
    });
    if (finding.layers.length) this.open(name, finding.layers[0]);
  }

  /** Opens a layer's card. */
  open(name, path) {
    const before = this.state.card;
    if (!before) this.opener = document.activeElement;
    this.change({ layer: path, card: { run: name, path } });
    this.toCard = !before;
  }

  close() {
    if (!this.state.card) return;
    this.change({ card: null });
    this.opener?.isConnected && this.opener.focus();
  }

  /** A row of several layers becomes a row each, and the map shows only them. */
  expand(name, row) {
    const run = this.store.run(name);
    const rows = rowsOf(run.layers, this.state.search, "layers");
    const places = rows.map(({ layers }) => layers[0]);
    const [low, high] = [places.indexOf(row.layers[0]), places.indexOf(row.layers.at(-1)) + 1];
    const view = { ...this.state.view, y: [low / rows.length, high / rows.length] };
    this.change({ grouping: "layers", view });
  }

  names() {
    return [this.state.first, this.state.second].filter(Boolean);
  }

  // ------------------------------------------------------------------ drawing

  schedule() {
    if (this.scheduled) return;
    this.scheduled = true;
    this.main.dataset.state = "drawing";
    // a frame that is not shown has no animation frames, and nothing to draw
    requestAnimationFrame(() => {
      this.scheduled = false;
      this.draw();
    });
  }

  /** The result of `make`, until one of `parts` is another. */
  remembered(name, parts, make) {
    const kept = this.memory.get(name);
    const same = kept?.parts.length === parts.length;
    if (same && parts.every((part, place) => part === kept.parts[place])) return kept.value;
    const value = make();
    this.memory.set(name, { parts, value });
    return value;
  }

  draw() {
    const { state, store } = this;
    const loaded = this.names().filter((name) => store.run(name));
    this.alert.hidden = !state.error;
    replaced(this.alert, [
      state.error,
      " ",
      h("button", { type: "button", click: () => this.refresh() }, "Try again"),
    ]);
    this.refused.hidden = !state.refused.length;
    replaced(this.refused, state.refused.map(({ error }) => h("p", {}, `Not shown: ${error}`)));
    this.toolbar.draw();
    this.content.hidden = !loaded.length;
    this.empty.hidden = loaded.length > 0 || state.refused.length > 0;
    if (!loaded.length) return this.drawEmpty();
    const shown = loaded.map((name) => {
      const run = store.run(name);
      return { name, short: shortName(name), run, prefix: commonPrefix(run.layers.map((l) => l.path)) };
    });
    this.drawVerdicts(shown);
    const measured = shown.filter(({ run }) => run.steps.length);
    this.legend.hidden = this.pictures.hidden = !measured.length;
    if (measured.length) {
      this.drawMaps(measured);
      this.drawDepth(measured);
    }
    replaced(this.findings, [
      shown.map(({ name, short, run, prefix }) =>
        this.remembered(`findings ${name}`, [run, this.chosen(name), shown.length], () =>
          findingList(this, name, shown.length > 1 ? short : "", run, prefix, this.chosen(name)),
        ),
      ),
    ]);
    this.drawCard(shown);
    const settled = store.settled && loaded.length === this.names().length;
    this.main.dataset.state = state.error ? "error" : settled ? "ready" : "loading";
    if (settled) performance.mark("initwatch drawn");
  }

  drawEmpty() {
    const { runs, error } = this.state;
    this.main.dataset.state = error ? "error" : runs ? "empty" : "loading";
    if (error) return this.empty.replaceChildren();
    if (!runs || runs.length) {
      return this.empty.replaceChildren(h("p", { role: "status" }, "Loading the log …"));
    }
    this.empty.replaceChildren(
      h("h2", {}, "Nothing is logged here yet"),
      h("p", {}, "A training writes to this tab as soon as initwatch is among its callbacks:"),
      h("pre", {}, 'watch = initwatch.InitWatch("logs/run1")\nmodel.fit(x, y, callbacks=[watch])'),
      h("p", { class: "muted" }, "This page looks again every few seconds."),
    );
  }

  chosen(name) {
    const { finding } = this.state;
    // findings may have come before it since
    const same = this.store.run(name).findings[finding?.index]?.code === finding?.code;
    return finding?.run === name && same ? finding.index : null;
  }

  drawVerdicts(shown) {
    replaced(this.verdicts, [
      shown.map(({ name, short, run, prefix }) =>
        this.remembered(`verdict ${name}`, [run], () => verdict(this, name, short, run, prefix)),
      ),
    ]);
  }

  drawMaps(shown) {
    const { state, store } = this;
    const held = shown.map(({ run }) => run.quantities.some(({ name }) => name === state.quantity));
    const matrices = shown.map(({ name }, k) => (held[k] ? store.matrix(name, state.quantity) : null));
    const there = matrices.filter(Boolean);
    const quantity = shown
      .flatMap(({ run }) => run.quantities)
      .find(({ name }) => name === state.quantity);
    if (!quantity) return;
    const scale = this.remembered("scale", [quantity.name, state.mode, ...there], () =>
      scaleOf(there, quantity, state.mode),
    );
    replaced(this.legend, [
      this.remembered("legend", [scale], () =>
        h(
          "div",
          { class: "legend-line" },
          h("h2", {}, titleOf(quantity.name)),
          h("span", { class: "muted definition" }, quantity.definition),
          legend(scale, quantity, there),
        ),
      ),
    ]);
    for (const name of [...this.maps.keys()]) {
      if (!shown.some((one) => one.name === name)) this.maps.delete(name);
    }
    for (const { name } of shown) {
      if (!this.maps.has(name)) this.maps.set(name, new HeatMap(this, name));
    }
    const places = shown.map(({ name, short }) =>
      this.remembered(`map ${name}`, [this.maps.get(name), shown.length], () =>
        h(
          "section",
          { class: "map-place", "aria-label": `Map of ${name}` },
          shown.length > 1 ? h("h3", {}, short) : null,
          this.maps.get(name).element,
        ),
      ),
    );
    if (places.some((place, k) => this.mapPlace.children[k] !== place) || this.mapPlace.children.length !== places.length) {
      this.mapPlace.replaceChildren(...places);
    }
    this.mapPlace.dataset.count = shown.length;
    const lossAxis = this.remembered("loss", shown.map(({ run }) => run), () =>
      lossAxisOf(shown.map(({ run }) => run)),
    );
    const namesOf = ({ run, prefix }) => run.layers.map(({ path }) => path.slice(prefix.length)).join("\n");
    const firstNames = namesOf(shown[0]);
    shown.forEach((entry, place) => {
      const { name, run, prefix } = entry;
      const rows = this.remembered(`rows ${name}`, [run.layers, state.search, state.grouping], () =>
        rowsOf(run.layers, state.search, state.grouping),
      );
      const layer = placeOf(state.layer, shown, entry);
      this.maps.get(name).draw({
        run,
        rows,
        matrix: matrices[place],
        held: held[place],
        quantity,
        scale,
        view: state.view,
        theme: state.theme,
        // rows of the same layers stand at the same height: they are named once
        labels: place === 0 || namesOf(entry) !== firstNames,
        prefix,
        lossAxis,
        step: nearest(run.steps, state.step),
        row: rows.findIndex((one) => one.layers.includes(layer)),
        finding: this.chosen(name),
      });
    });
    // maps side by side: cells of one layer at one height
    const drawn = shown.map(({ name }) => this.maps.get(name));
    const most = Math.max(...drawn.map((map) => map.laneCount));
    drawn.forEach((map) => map.setLanes(most));
  }

  drawDepth(shown) {
    const { state, store } = this;
    const { run, name } = shown[0];
    const runs = shown.map((entry) => ({
      ...entry,
      matrices: Object.fromEntries(
        DIRECTIONS.map((one) => [one.key, store.matrix(entry.name, quantityOf(entry.run, one))]),
      ),
    }));
    const place = nearest(run.steps, state.step);
    this.slided = run.steps;
    this.slider.max = run.steps.length - 1;
    this.slider.value = place;
    this.slider.setAttribute("aria-valuetext", `step ${run.steps[place]}`);
    this.stepText.textContent = run.steps[place];
    const index = this.chosen(name) ?? run.findings.findIndex((one) => one.severity !== "info" && one.layers.length);
    const finding = run.findings[index];
    const width = Math.max(260, this.depth.clientWidth);
    const plot = {
      runs,
      step: state.step,
      layer: placeOf(state.layer, shown, shown[0]),
      flagged: finding ? spans(run, finding.layers) : [],
      code: finding?.code ?? "",
    };
    replaced(this.depth, [depthKey(plot), depthPlot(this, plot, width), depthAxis(run, width)]);
  }

  drawCard(shown) {
    const { card: open, step } = this.state;
    const owner = open && shown.find(({ name }) => name === open.run);
    const there = owner && owner.run.layers.some(({ path }) => path === open.path);
    this.cardPlace.hidden = !there;
    document.body.classList.toggle("with-card", Boolean(there));
    if (!there) return this.cardPlace.replaceChildren();
    const { store } = this;
    const found = shown.map((entry) => {
      const place = placeOf(open.path, shown, entry);
      return place < 0 ? null : store.layer(entry.name, entry.run.layers[place].path);
    });
    const histograms = store.histograms(open.run, open.path);
    const parts = [owner.run, open.path, step, histograms, ...found];
    const drawn = this.remembered("card", parts, () => {
      const curves = new Map();
      for (const { name } of curvesOf(owner.run)) {
        const series = found.flatMap((one, place) =>
          one?.values[name] ? [{ steps: one.steps, values: one.values[name], place }] : [],
        );
        curves.set(name, series.length ? series : null);
      }
      return card(this, { ...owner, path: open.path, step, curves, histograms });
    });
    replaced(this.cardPlace, [drawn]);
    if (this.toCard) {
      this.toCard = false;
      this.cardPlace.scrollTop = 0;
      this.cardPlace.querySelector(".close").focus();
    }
  }
}

/** Puts new children in, and the focus where it was: on the control at the same place. */
function replaced(place, children) {
  const list = children.flat(Infinity).filter(Boolean);
  const same = list.length === place.childNodes.length;
  if (same && list.every((child, k) => child === place.childNodes[k])) return;
  const controls = () => [...place.querySelectorAll("button, select, input, summary, [tabindex]")];
  const at = controls().indexOf(document.activeElement);
  const details = () => [...place.querySelectorAll("details")];
  // of another run they are others
  const named = (one) => `${one.closest("section")?.ariaLabel} ${one.firstChild.textContent}`;
  const opened = new Map(details().map((one) => [named(one), one.open]));
  place.replaceChildren(...list);
  if (at >= 0) controls()[at]?.focus({ preventScroll: true });
  for (const one of details()) one.open = opened.get(named(one)) ?? one.open;
}

/** The run that needs a look most; among equals the newest name. */
function sickest(runs) {
  const order = [...runs].sort((a, b) => b.errors - a.errors || b.warnings - a.warnings);
  return order[0]?.run ?? null;
}

/**
 * Where the layer of a path stands in the run of `entry`, -1 if nowhere. A model that was built
 * twice has other names: a layer is that of the same name within its model, else, in a model of the
 * same types throughout, that at the same place.
 */
function placeOf(path, shown, { run, prefix }) {
  const own = run.layers.findIndex((layer) => layer.path === path);
  if (own >= 0) return own;
  const owner = shown.find((one) => one.run.layers.some((layer) => layer.path === path));
  if (!owner) return -1;
  const name = path.slice(owner.prefix.length);
  const named = run.layers.findIndex((layer) => layer.path.slice(prefix.length) === name);
  if (named >= 0) return named;
  const theirs = owner.run.layers;
  const alike =
    theirs.length === run.layers.length &&
    theirs.every((layer, k) => layer.class_name === run.layers[k].class_name);
  return alike ? theirs.findIndex((layer) => layer.path === path) : -1;
}

/** Neighbouring layers among `paths`: [[first, last]]. */
function spans(run, paths) {
  const wanted = new Set(paths);
  const out = [];
  run.layers.forEach(({ path }, index) => {
    if (!wanted.has(path)) return;
    if (out.length && out.at(-1)[1] === index - 1) out.at(-1)[1] = index;
    else out.push([index, index]);
  });
  return out;
}
