// Numbers to text, numbers to places, and the ticks between.

/** A figure as people read it: four digits, powers of ten where they are shorter. */
export function figure(value, digits = 4) {
  if (value === null || value === undefined) return "not measured";
  if (typeof value === "string") return value;
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (Array.isArray(value)) {
    const shown = value.slice(0, 6).map((item) => figure(item, digits)).join(", ");
    return `[${shown}${value.length > 6 ? ", ..." : ""}]`;
  }
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "Infinity" : "-Infinity";
  if (Number.isInteger(value) && Math.abs(value) < 1e6) return String(value);
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e5)) {
    return value.toExponential(Math.min(digits - 1, 2)).replace(/\.?0+e/, "e").replace("e+", "e");
  }
  return String(Number(value.toPrecision(digits)));
}

/** "signal_ratio" as words. */
export function words(name) {
  return name.replaceAll("_", " ");
}

/** Text cut in its middle: both ends of a layer's path tell it apart. */
export function middle(text, length) {
  if (text.length <= length) return text;
  const tail = Math.ceil((length - 1) * 0.6);
  return `${text.slice(0, length - 1 - tail)}…${text.slice(text.length - tail)}`;
}

/** What all paths of a model begin with ("digits/"), so that it need not be read in each row. */
export function commonPrefix(paths) {
  if (paths.length < 2) return "";
  let prefix = paths[0].slice(0, paths[0].lastIndexOf("/") + 1);
  while (prefix && !paths.every((path) => path.startsWith(prefix))) {
    prefix = prefix.slice(0, prefix.slice(0, -1).lastIndexOf("/") + 1);
  }
  return prefix;
}

/** Smallest and largest of what `each` visits, positive ones only on a log scale; null if none. */
export function extent(lists, log) {
  let low = Infinity;
  let high = -Infinity;
  for (const list of lists) {
    for (const value of list) {
      if (value === null || !Number.isFinite(value) || (log && value <= 0)) continue;
      if (value < low) low = value;
      if (value > high) high = value;
    }
  }
  return low <= high ? [low, high] : null;
}

/**
 * An axis from a number to 0..1.
 *
 * A log axis spans three decades at least: layers that differ by a factor of two are alike, and
 * are to look alike.
 */
export function axis(range, log) {
  if (!range) return { low: log ? 1e-3 : 0, high: 1, log, at: () => 0.5, ticks: [] };
  let [low, high] = range;
  if (log) {
    const lack = 3 - Math.log10(high / low);
    if (lack > 0) {
      low *= 10 ** (-lack / 2);
      high *= 10 ** (lack / 2);
    }
    const start = Math.log10(low);
    const span = Math.log10(high) - start;
    return { low, high, log, at: (v) => (Math.log10(v) - start) / span, ticks: decades(low, high) };
  }
  if (high === low) {
    const pad = Math.abs(low) * 0.1 || 1;
    low -= pad;
    high += pad;
  }
  return { low, high, log, at: (v) => (v - low) / (high - low), ticks: evenly(low, high) };
}

function decades(low, high) {
  const first = Math.ceil(Math.log10(low) - 1e-9);
  const last = Math.floor(Math.log10(high) + 1e-9);
  const stride = Math.max(1, Math.ceil((last - first) / 5));
  const ticks = [];
  for (let power = last; power >= first; power -= stride) ticks.unshift(10 ** power);
  return ticks;
}

function evenly(low, high, count = 4) {
  const rough = (high - low) / count;
  const unit = 10 ** Math.floor(Math.log10(rough));
  const stride = [1, 2, 5, 10].map((m) => m * unit).find((candidate) => candidate >= rough);
  const ticks = [];
  for (let k = Math.ceil(low / stride - 1e-9); k * stride <= high + stride * 1e-9; k += 1) {
    ticks.push(Number((k * stride).toPrecision(12)));
  }
  return ticks;
}

/** 1e-6 as "1e-6", 0.01 as "0.01": a tick's text. */
export function tickText(value) {
  if (value !== 0 && (Math.abs(value) < 1e-2 || Math.abs(value) >= 1e4)) {
    return value.toExponential().replace("e+", "e");
  }
  return String(value);
}

/** The place in ascending `list` whose value is nearest. */
export function nearest(list, value) {
  let low = 0;
  let high = list.length - 1;
  while (low < high) {
    const half = (low + high) >> 1;
    if (list[half] < value) low = half + 1;
    else high = half;
  }
  return low > 0 && value - list[low - 1] <= list[low] - value ? low - 1 : low;
}

/** At most `count` places of 0..length-1, evenly, first and last among them. */
export function spread(length, count) {
  if (length <= count) return Array.from({ length }, (_, i) => i);
  if (count < 2) return length ? [0] : [];
  return Array.from({ length: count }, (_, i) => Math.round((i * (length - 1)) / (count - 1)));
}

/** An SVG path through points [x, y], broken where one is null; a point alone is a short dash. */
export function stroke(points) {
  const text = (x, y) => `${x.toFixed(1)} ${y.toFixed(1)}`;
  return points
    .map((point, i) => {
      if (!point) return "";
      const [x, y] = point;
      if (points[i - 1]) return `L${text(x, y)}`;
      return points[i + 1] ? `M${text(x, y)}` : `M${text(x - 2, y)}h4`;
    })
    .join("");
}
