// Colours of numbers. The sequence is viridis (van der Walt & Smith 2015), whose lightness rises
// evenly, so that it reads without colour vision and in grey: dark is small.

const VIRIDIS = [
  "440154", "482475", "414487", "355f8d", "2a788e", "21918c", "22a884", "44bf70", "7ad151",
  "bddf26", "fde725",
];
// blue for below, orange for above, told apart with any colour vision; light in the middle
const DIVERGING = [
  "053061", "1f62a5", "4f9bc7", "a6cee3", "f3f1ec", "f6c38f", "e08a3c", "b35806", "6b2f03",
];
const SIZE = 256;

function bytes(text) {
  return [0, 2, 4].map((place) => parseInt(text.slice(place, place + 2), 16));
}

function table(anchors) {
  const colours = anchors.map(bytes);
  const out = new Uint32Array(SIZE);
  for (let i = 0; i < SIZE; i += 1) {
    const place = (i / (SIZE - 1)) * (colours.length - 1);
    const left = Math.min(Math.floor(place), colours.length - 2);
    const share = place - left;
    const mixed = colours[left].map((c, k) => Math.round(c + (colours[left + 1][k] - c) * share));
    out[i] = packed(mixed);
  }
  return out;
}

/** Red, green, blue as one pixel of an ImageData, as little-endian machines hold it. */
function packed([red, green, blue]) {
  return ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;
}

export const SEQUENCE = table(VIRIDIS);
export const AROUND = table(DIVERGING);

// What is no number on the scale has a colour that is not on it, and a pattern where there is room.
export const ZERO = packed([0, 0, 0]);
export const NOT_FINITE = packed([214, 0, 110]);
export const NOT_MEASURED = packed([158, 163, 170]);

/** 0..1 to a pixel. */
export function pixel(colours, share) {
  const place = Math.round(share * (SIZE - 1));
  return colours[place < 0 ? 0 : place >= SIZE ? SIZE - 1 : place];
}

/** A pixel as the style sheet's text. */
export function css(colour) {
  return `rgb(${colour & 255}, ${(colour >> 8) & 255}, ${(colour >> 16) & 255})`;
}
