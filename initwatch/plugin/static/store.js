// What has been fetched, by run: kept while newer numbers are on their way, so that nothing blinks.

import { Matrix } from "./matrix.js";

export class Store {
  constructor(api, changed) {
    this.api = api;
    this.changed = changed;
    this.entries = new Map();
  }

  /** The run as last fetched, or null. */
  run(name) {
    return this.entries.get(name)?.run ?? null;
  }

  /** Fetches a run whose summary is another than at the last time. */
  async load(summary) {
    const signature = JSON.stringify(summary);
    const entry = this.entries.get(summary.run);
    if (entry?.signature === signature) return;
    const run = await this.api.run(summary.run);
    // layers that are others than before: what was drawn of them is void
    const same = entry && paths(entry.run) === paths(run);
    this.entries.set(summary.run, {
      signature,
      run,
      matrices: same ? entry.matrices : new Map(),
      layers: same ? entry.layers : new Map(),
      histograms: new Map(),
    });
    this.changed();
  }

  /** A quantity of a run as a Matrix, null until it is there; asks for it, or for a newer one. */
  matrix(name, quantity) {
    return this.kept(name, "matrices", quantity, async (run) => {
      const values = await this.api.values(name, quantity);
      return new Matrix(values, run.layers.length);
    });
  }

  /** All quantities of a layer over the steps, null until they are there. */
  layer(name, path) {
    return this.kept(name, "layers", path, () => this.api.layer(name, path));
  }

  /** Histograms of a layer, null until they are there. */
  histograms(name, path) {
    return this.kept(name, "histograms", path, () => this.api.histograms(name, path));
  }

  kept(name, shelf, key, fetched) {
    const entry = this.entries.get(name);
    if (!entry || key === null) return null;
    const { signature, run } = entry;
    const found = entry[shelf].get(key);
    if (found?.signature === signature) return found.value;
    const waiting = { signature, value: found?.value ?? null };
    entry[shelf].set(key, waiting);
    fetched(run).then(
      (value) => {
        waiting.value = value;
        waiting.ready = true;
        this.changed();
      },
      (error) => {
        Object.assign(waiting, { ready: true, failed: true });
        this.changed(error);
      },
    );
    return waiting.value;
  }

  /** Lets what could not be fetched be asked for again: not before, or each drawing would ask. */
  retry() {
    for (const entry of this.entries.values()) {
      for (const shelf of shelves(entry)) {
        for (const [key, item] of shelf) if (item.failed) shelf.delete(key);
      }
    }
  }

  /** True if all that was asked for is there. */
  get settled() {
    return [...this.entries.values()].every((entry) =>
      shelves(entry).every((shelf) =>
        [...shelf.values()].every((item) => item.ready || item.signature !== entry.signature),
      ),
    );
  }
}

function shelves({ matrices, layers, histograms }) {
  return [matrices, layers, histograms];
}

function paths(run) {
  return JSON.stringify(run.layers.map((layer) => layer.path));
}
