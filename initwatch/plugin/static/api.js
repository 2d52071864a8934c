// Where the numbers come from: the plugin's routes, or what a report carries in itself.

/** An error that a user is to read. */
class ApiError extends Error {}

async function json(route, parameters = {}) {
  const query = new URLSearchParams(parameters).toString();
  let answer;
  try {
    answer = await fetch(query ? `${route}?${query}` : route);
  } catch {
    throw new ApiError("TensorBoard does not answer. Is it still running?");
  }
  let body;
  try {
    body = await answer.json();
  } catch {
    throw new ApiError(`TensorBoard answered ${route} with status ${answer.status} and no JSON.`);
  }
  if (!answer.ok) throw new ApiError(body.error ?? `${route}: status ${answer.status}`);
  return body;
}

/** The plugin's server. Relative routes: TensorBoard sets the page's base to the plugin. */
export const server = {
  live: true,
  runs: () => json("runs"),
  run: (run) => json("run", { run }),
  values: (run, quantity) => json("values", { run, quantity }),
  layer: (run, layer) => json("layer", { run, layer }),
  histograms: async (run, layer) => (await json("histograms", { run, layer })).histograms,
};

/** The same from a report's own data: {runs, run: {R: ...}, values: {R: {Q: ...}}, histograms}. */
export function embedded(data) {
  const found = (value, what) => {
    if (value === undefined) throw new ApiError(`This report does not hold ${what}.`);
    return value;
  };
  return {
    live: false,
    note: data.note ?? "",
    runs: async () => ({ runs: data.runs, refused: [] }),
    run: async (run) => found(data.run[run], `the run ${run}`),
    values: async (run, quantity) => found(data.values[run]?.[quantity], `${quantity} of ${run}`),
    layer: async (run, layer) => {
      const { layers, steps } = data.run[run];
      const place = layers.findIndex(({ path }) => path === layer);
      const column = ({ values }) => values.map((row) => row[place]);
      const of = Object.entries(data.values[run]).map(([name, one]) => [name, column(one)]);
      return { steps, values: Object.fromEntries(of) };
    },
    histograms: async (run, layer) => data.histograms[run]?.[layer] ?? [],
  };
}
