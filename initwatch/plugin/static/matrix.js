// A quantity of a run as the map needs it: numbers, what is no number, rows, blocks of cells.

// kinds of cells: places in KIND_TEXT; above MISSING stands what is not finite
const NUMBER = 0;
export const MISSING = 1;
const NAN = 2;
const KIND_TEXT = ["", "not measured", "NaN", "Infinity", "-Infinity"];

/**
 * values: [step][layer] of number, null (not measured) or "NaN", "Infinity", "-Infinity".
 * A row shorter than the layers is of a model that was seen anew: what is missing is not measured.
 */
export class Matrix {
  constructor({ steps, values }, layers) {
    this.steps = steps;
    this.layers = layers;
    this.data = new Float64Array(steps.length * layers).fill(NaN);
    this.kinds = new Uint8Array(steps.length * layers).fill(MISSING);
    this.low = Infinity;
    this.high = -Infinity;
    this.lowPositive = Infinity;
    for (let step = 0; step < steps.length; step += 1) {
      const row = values[step] ?? [];
      const count = Math.min(row.length, layers);
      for (let layer = 0; layer < count; layer += 1) {
        const value = row[layer];
        const place = step * layers + layer;
        if (typeof value === "number") {
          this.data[place] = value;
          this.kinds[place] = NUMBER;
          if (value < this.low) this.low = value;
          if (value > this.high) this.high = value;
          if (value > 0 && value < this.lowPositive) this.lowPositive = value;
        } else if (value !== null && value !== undefined) {
          this.kinds[place] = Math.max(NAN, KIND_TEXT.indexOf(value));
        }
      }
    }
  }

  /** What stands in a cell, for `figure`. */
  cell(step, layer) {
    const place = step * this.layers + layer;
    const kind = this.kinds[place];
    return kind === NUMBER ? this.data[place] : kind === MISSING ? null : KIND_TEXT[kind];
  }

  /** All layers at a step. */
  row(step) {
    return Array.from({ length: this.layers }, (_, layer) => this.cell(step, layer));
  }

  /** Median over layers of each step's numbers (positive ones on a log scale), NaN if none. */
  medians(log) {
    const kept = (this.medianCache ??= {});
    kept[log] ??= this.steps.map((_, step) => {
      const start = step * this.layers;
      const row = this.data.subarray(start, start + this.layers);
      const sorted = row.filter((v) => !Number.isNaN(v) && (!log || v > 0)).sort();
      if (!sorted.length) return NaN;
      const half = sorted.length >> 1;
      if (sorted.length % 2) return sorted[half];
      const pair = [sorted[half - 1], sorted[half]];
      return log ? Math.sqrt(pair[0] * pair[1]) : (pair[0] + pair[1]) / 2;
    });
    return kept[log];
  }
}

/**
 * The rows of the map: [{label, layers: [index], group}].
 *
 * search: shown are layers whose path, type, activation or initializer holds each of its words.
 * grouping: "layers" (a row a layer), "path" (a row for neighbours of one block), "tens".
 */
export function rowsOf(layers, search, grouping) {
  const wanted = search.toLowerCase().split(/\s+/).filter(Boolean);
  const shown = [];
  layers.forEach((layer, index) => {
    const text = [layer.path, layer.class_name, layer.activation, layer.initializer]
      .join(" ")
      .toLowerCase();
    if (wanted.every((word) => text.includes(word))) shown.push(index);
  });
  if (grouping === "layers") {
    return shown.map((index) => ({ label: layers[index].path, layers: [index], group: false }));
  }
  const rows = [];
  let last = null;
  shown.forEach((index, place) => {
    const name = grouping === "tens" ? Math.floor(place / 10) : blockOf(layers[index].path);
    if (!rows.length || name !== last) rows.push({ label: name, layers: [], group: true });
    rows.at(-1).layers.push(index);
    last = name;
  });
  for (const row of rows) {
    const [first, end] = [row.layers[0], row.layers.at(-1)].map((index) => layers[index].path);
    if (row.layers.length === 1) Object.assign(row, { label: first, group: false });
    else if (grouping === "tens") row.label = `${first} … ${end.split("/").at(-1)}`;
    else row.label = `${row.label} (${row.layers.length} layers)`;
  }
  return rows;
}

/** "net/block_3/conv" is of "net/block_3"; "net/dense_12" of "net/dense_*". */
function blockOf(path) {
  const parts = path.split("/");
  if (parts.length > 2) return parts.slice(0, -1).join("/");
  return path.replace(/_?\d+$/, "_*");
}

/** Edges of `count` blocks over the places from..to: Int32Array[count + 1]. */
export function edges(from, to, count) {
  const out = new Int32Array(count + 1);
  for (let i = 0; i <= count; i += 1) out[i] = from + Math.floor((i * (to - from)) / count);
  return out;
}
