// Severities: a shape and a word each, so that colour is never all there is.

import { h, s } from "./dom.js";

const SHAPES = {
  error: "M8 1 L15.5 14.5 L0.5 14.5 Z",
  warning: "M8 0.5 L15.5 8 L8 15.5 L0.5 8 Z",
  info: "M8 1 A7 7 0 1 1 7.99 1 Z",
  healthy: "M8 1 A7 7 0 1 1 7.99 1 Z",
};
const RANKS = ["info", "warning", "error"];

/** A triangle for an error, a diamond for a warning, a disc for what is worth knowing. */
export function glyph(severity, size = 14) {
  const sign = { error: "M8 6 V10 M8 11.6 V13", warning: "M8 4 V9 M8 10.6 V12.2" }[severity];
  const inner = { info: "M8 7 V12 M8 4 V5.6", healthy: "M4.5 8.2 L7 10.8 L11.5 5.6" }[severity];
  return s(
    "svg",
    { class: `glyph ${severity}`, viewBox: "0 0 16 16", width: size, height: size, "aria-hidden": true },
    s("path", { class: "shape", d: SHAPES[severity] }),
    s("path", { class: "sign", d: sign ?? inner }),
  );
}

/** "before/initwatch" is "before" to who reads it. */
export function shortName(name) {
  return name.replace(/\/initwatch$/, "") || name;
}

/** How a finding stands, in words. */
export function standing(finding) {
  if (finding.state === "recovered") return `recovered after step ${finding.last_step}`;
  return finding.cause ? `active, follows from ${finding.cause}` : "active";
}

/** The graver of two severities; undefined is none. */
export function graver(one, other) {
  return RANKS.indexOf(other) > RANKS.indexOf(one) ? other : one;
}

/** The gravest severity of each layer: Map path to severity. */
export function gravest(findings) {
  const found = new Map();
  for (const { layers, severity } of findings) {
    for (const path of layers) found.set(path, graver(found.get(path), severity));
  }
  return found;
}

/** "hidden_1 to hidden_20 (20 layers)". */
export function layersText(paths, prefix) {
  const names = paths.map((path) => (path.startsWith(prefix) ? path.slice(prefix.length) : path));
  if (names.length <= 3) return names.join(", ");
  return `${names[0]}, ${names[1]} … ${names.at(-1)} (${names.length} layers)`;
}

/** Code to paste with its button. */
export function codeBlock(code, copy) {
  const said = h("span", { class: "said", role: "status" });
  const button = h(
    "button",
    {
      class: "copy",
      type: "button",
      "aria-label": `Copy ${code}`,
      click: async (event) => {
        event.stopPropagation();
        const done = await copy(code);
        said.textContent = done ? "Copied" : "Copying is not allowed here: select the text";
        button.dataset.copied = done;
      },
    },
    "Copy",
  );
  return h("div", { class: "code" }, h("code", {}, code), button, said);
}
