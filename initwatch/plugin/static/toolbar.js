// Which run, which quantity, which rows.

import { h } from "./dom.js";
import { shortName } from "./marks.js";
import { words } from "./scales.js";

const GROUPS = [
  ["Forward signal", (name) => name.startsWith("activation") || name === "dead_fraction"],
  ["Backward signal", (name) => name.startsWith("delta")],
  ["Gradient of the weights", (name) => name.startsWith("gradient") || name === "clipped_norm"],
  ["Update", (name) => name.startsWith("update")],
  ["Weights", (name) => name.startsWith("weight")],
  ["Other", () => true],
];
/** A quantity's name with what it is of: "Backward signal: delta rms". */
export function titleOf(name) {
  const [group] = GROUPS.find(([, belongs]) => belongs(name));
  return `${group}: ${words(name)}`;
}

const MODES = [
  ["value", "by value"],
  ["median", "against the median layer"],
];
const ROWS = [
  ["layers", "a row a layer"],
  ["path", "grouped by block"],
  ["tens", "grouped by tens"],
];

export class Toolbar {
  constructor(app) {
    this.app = app;
    const set = (key) => (event) => app.change({ [key]: event.target.value });
    this.first = h("select", { id: "run", change: set("first") });
    this.second = h("select", { id: "compare", change: set("second") });
    this.quantity = h("select", { id: "quantity", change: set("quantity") });
    this.mode = h("select", { id: "mode", change: set("mode") }, options(MODES));
    this.grouping = h("select", { id: "rows", change: set("grouping") }, options(ROWS));
    this.search = h("input", {
      id: "search",
      type: "search",
      placeholder: "name, type, activation …",
      input: set("search"),
    });
    this.whole = h(
      "button",
      { type: "button", click: () => app.change({ view: { x: [0, 1], y: [0, 1] } }) },
      "Show all",
    );
    this.status = h("span", { class: "status", role: "status" });
    this.element = h(
      "div",
      { class: "toolbar", role: "toolbar", "aria-label": "What is shown" },
      field("Run", this.first),
      field("Compare with", this.second),
      field("Quantity", this.quantity),
      field("Colour", this.mode),
      field("Rows", this.grouping),
      field("Find layers", this.search),
      this.whole,
      this.status,
    );
  }

  draw() {
    const { state, store } = this.app;
    const runs = state.runs ?? [];
    const named = runs.map(({ run, errors, warnings }) => [run, `${shortName(run)}${counted(errors, warnings)}`]);
    fill(this.first, named, state.first);
    const others = named.filter(([run]) => run !== state.first);
    fill(this.second, [["", "no other"], ...others], state.second);
    this.second.disabled = !others.length;
    const run = store.run(state.first);
    const names = (run?.quantities ?? []).filter((q) => q.subject !== "step").map((q) => q.name);
    const left = new Set(names);
    const groups = GROUPS.map(([label, belongs]) => {
      const inside = names.filter((name) => left.has(name) && belongs(name));
      inside.forEach((name) => left.delete(name));
      return [label, inside];
    }).filter(([, inside]) => inside.length);
    const key = JSON.stringify(groups);
    if (this.quantityKey !== key) {
      this.quantityKey = key;
      this.quantity.replaceChildren(
        ...groups.map(([label, inside]) =>
          h("optgroup", { label }, inside.map((name) => h("option", { value: name }, words(name)))),
        ),
      );
    }
    this.quantity.value = state.quantity ?? "";
    this.mode.value = state.mode;
    this.grouping.value = state.grouping;
    if (this.search.value !== state.search) this.search.value = state.search;
    const { x, y } = state.view;
    this.whole.disabled = x[0] === 0 && x[1] === 1 && y[0] === 0 && y[1] === 1;
    this.status.textContent = this.app.api.live ? liveText(runs, state) : this.app.api.note;
  }
}

function liveText(runs, state) {
  const shown = runs.filter(({ run }) => run === state.first || run === state.second);
  if (!shown.length) return "";
  return shown.some((run) => !run.ended) ? "● no end logged yet: reloads by itself" : "training has ended";
}

function counted(errors, warnings) {
  const parts = [];
  if (errors) parts.push(`${errors} error${errors > 1 ? "s" : ""}`);
  if (warnings) parts.push(`${warnings} warning${warnings > 1 ? "s" : ""}`);
  return parts.length ? ` (${parts.join(", ")})` : "";
}

function field(text, control) {
  return h("label", { class: "field", for: control.id }, h("span", {}, text), control);
}

function options(pairs) {
  return pairs.map(([value, text]) => h("option", { value }, text));
}

/** New options only where they are others: an open list must not close under a user's hand. */
function fill(select, pairs, value) {
  const key = JSON.stringify(pairs);
  if (select.dataset.key !== key) {
    select.dataset.key = key;
    select.replaceChildren(...options(pairs));
  }
  select.value = value ?? "";
}
