// The scale that a map's numbers are coloured by, and the drawing of the cells.

import { AROUND, NOT_FINITE, NOT_MEASURED, SEQUENCE, ZERO, pixel } from "./colour.js";
import { MISSING } from "./matrix.js";

const DECADES = 4; // a log scale spans as many at least, so that healthy layers look alike
const MOST_DECADES = 20; // and at most: one denormal number must not take all contrast

/**
 * One scale for all maps that stand side by side.
 *
 * mode "value": the number itself. "median": against the median layer of the same step, which
 * shows a layer that differs from the others whatever the training as a whole does.
 */
export function scaleOf(matrices, quantity, mode) {
  const log = quantity.scale === "log";
  const relative = mode === "median";
  let low = Infinity;
  let high = -Infinity;
  for (const matrix of matrices) {
    const bottom = log ? matrix.lowPositive : matrix.low;
    if (bottom < low) low = bottom;
    if (matrix.high > high) high = matrix.high;
  }
  if (relative) return around(matrices, log);
  if (!(low <= high) || (log && high <= 0)) [low, high] = log ? [1e-3, 1] : [0, 1];
  if (log) {
    let [start, end] = [Math.log10(low), Math.log10(high)];
    start = Math.max(start, end - MOST_DECADES);
    const lack = DECADES - (end - start);
    if (lack > 0) [start, end] = [start - lack / 2, end + lack / 2];
    return { log, relative, colours: SEQUENCE, start, end };
  }
  if (low < 0) {
    const reach = Math.max(-low, high);
    return { log, relative, colours: AROUND, start: -reach, end: reach };
  }
  // a share is read against the whole
  if (high <= 1) return { log, relative, colours: SEQUENCE, start: 0, end: 1 };
  return { log, relative, colours: SEQUENCE, start: Math.min(0, low), end: high };
}

function around(matrices, log) {
  let reach = 0;
  for (const matrix of matrices) {
    const medians = matrix.medians(log);
    for (let step = 0; step < matrix.steps.length; step += 1) {
      for (let layer = 0; layer < matrix.layers; layer += 1) {
        const value = matrix.data[step * matrix.layers + layer];
        if (Number.isNaN(value) || (log && value <= 0) || Number.isNaN(medians[step])) continue;
        const off = log ? Math.log10(value / medians[step]) : value - medians[step];
        if (Math.abs(off) > reach) reach = Math.abs(off);
      }
    }
  }
  reach = log ? Math.min(Math.max(reach, DECADES / 2), MOST_DECADES / 2) : reach || 1;
  return { log, relative: true, colours: AROUND, start: -reach, end: reach };
}

/**
 * Colours of blocks of cells: an ImageData of (columns.length-1) x (rows.length-1) pixels.
 *
 * A block of several cells has their mean (of the logarithms, on a log scale); one number among
 * them that is not finite makes the block not finite, for a fault must not be averaged away.
 */
export function cells(matrix, rows, rowEdges, columnEdges, scale) {
  const [width, height] = [columnEdges.length - 1, rowEdges.length - 1];
  const image = new ImageData(width, height);
  const out = new Uint32Array(image.data.buffer);
  const { data, kinds, layers: count } = matrix;
  const { log, start, end, colours } = scale;
  const span = end - start;
  const base = scale.relative ? matrix.medians(log).map((m) => (log ? Math.log10(m) : m)) : null;
  for (let y = 0; y < height; y += 1) {
    const layers = rows.slice(rowEdges[y], rowEdges[y + 1]).flatMap((row) => row.layers);
    for (let x = 0; x < width; x += 1) {
      // the newest steps of a training may be known by number before these figures of them come
      if (columnEdges[x + 1] > matrix.steps.length) break;
      let [sum, numbers, zeros, faults] = [0, 0, 0, 0];
      for (let step = columnEdges[x]; step < columnEdges[x + 1]; step += 1) {
        for (let k = 0; k < layers.length; k += 1) {
          const place = step * count + layers[k];
          const value = data[place];
          if (value !== value) {
            if (kinds[place] > MISSING) faults += 1;
          } else if (log && value <= 0) {
            zeros += 1;
          } else {
            sum += (log ? Math.log10(value) : value) - (base ? base[step] : 0);
            numbers += 1;
          }
        }
      }
      let colour = NOT_MEASURED;
      if (faults) colour = NOT_FINITE;
      else if (numbers) colour = pixel(colours, (sum / numbers - start) / span);
      else if (zeros) colour = ZERO;
      out[y * width + x] = colour;
    }
  }
  return image;
}

/** Draws an image over the whole canvas, with patterns on what is no number. */
export function put(canvas, image, width, height, background) {
  const ratio = window.devicePixelRatio || 1;
  const [w, hgt] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== w) canvas.width = w;
  if (canvas.height !== hgt) canvas.height = hgt;
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const small = document.createElement("canvas");
  small.width = image.width;
  small.height = image.height;
  small.getContext("2d").putImageData(image, 0, 0);
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = false;
  context.clearRect(0, 0, w, hgt);
  context.drawImage(small, 0, 0, w, hgt);
  const [cellWidth, cellHeight] = [w / image.width, hgt / image.height];
  patterns(context, image, cellWidth, cellHeight, ratio);
  if (cellHeight < 9 * ratio) return;
  context.fillStyle = background;
  for (let y = 1; y < image.height; y += 1) {
    context.fillRect(0, Math.round(y * cellHeight) - ratio / 2, w, ratio);
  }
}

function patterns(context, image, width, height, ratio) {
  if (height < 4 * ratio) return;
  const pixels = new Uint32Array(image.data.buffer);
  context.lineWidth = ratio;
  for (const [colour, stroke, both] of [
    [NOT_MEASURED, "rgba(255,255,255,0.55)", false],
    [NOT_FINITE, "#fff", true],
  ]) {
    context.strokeStyle = stroke;
    context.beginPath();
    for (let y = 0; y < image.height; y += 1) {
      for (let x = 0; x < image.width; x += 1) {
        if (pixels[y * image.width + x] !== colour) continue;
        let end = x + 1;
        while (end < image.width && pixels[y * image.width + end] === colour) end += 1;
        hatch(context, x * width, y * height, (end - x) * width, height, both);
        x = end;
      }
    }
    context.stroke();
  }
}

function hatch(context, x, y, width, height, both) {
  for (let at = x; at < x + width; at += height) {
    const side = Math.min(height, x + width - at);
    context.moveTo(at, y + height);
    context.lineTo(at + side, y + height - side);
    if (!both) continue;
    context.moveTo(at, y);
    context.lineTo(at + side, y + side);
  }
}
