// Findings in words: the verdict on a run, and the list with the evidence.

import { h } from "./dom.js";
import { copy } from "./host.js";
import { codeBlock, glyph, layersText, standing } from "./marks.js";
import { figure, words } from "./scales.js";

const SAID = 3; // pieces of advice in the verdict

/** One look: what is wrong, where, and what to do. Says as plainly that nothing is. */
export function verdict(app, name, short, run, prefix) {
  const grave = run.findings.filter((finding) => finding.severity !== "info");
  const count = run.steps.length;
  const seen = count
    ? `${count} logged step${count > 1 ? "s" : ""} shown, up to step ${run.steps.at(-1)}${lossText(run)}`
    : "no step was logged yet";
  // of a run that was killed nothing tells that it will not go on
  const state = run.ended ? seen : `No end is logged yet: ${seen}`;
  const resumed = count && run.begin > run.steps[0];
  const closing = [
    run.changes.map((text) => h("p", {}, `Weights were ${text}.`)),
    h("p", { class: "muted" }, `${state}.`),
    resumed
      ? h("p", { class: "muted" }, `Resumed at step ${run.begin}: what was found is of the newest fit, from there on.`)
      : null,
    run.problems.map((text) => h("p", { class: "muted" }, `initwatch: ${text}`)),
  ];
  if (!grave.length) {
    const notes = run.findings.length;
    const healthy = `Healthy: ${notes ? `${notes} finding${notes > 1 ? "s" : ""} worth knowing` : "nothing to report"}`;
    const text = count ? healthy : "Waiting for the first step";
    return h(
      "section",
      { class: "verdict healthy", "aria-label": `Verdict on ${name}` },
      h("h2", {}, glyph("healthy", 18), h("span", { class: "run-name" }, short), text),
      closing,
    );
  }
  const first = grave[0];
  const index = run.findings.indexOf(first);
  const rest = grave.length - 1;
  const following = grave.filter((finding) => finding.cause === first.code).length;
  const follows = following < rest ? `, ${following} of them following from it` : ", following from it";
  const more = rest
    ? `${rest} more finding${rest > 1 ? "s" : ""}${following ? follows : ""}.`
    : "";
  const show = (text) =>
    h("button", { class: "link", type: "button", click: () => app.choose(name, index) }, text);
  const advice = run.advice.filter((item) => item.codes.includes(first.code));
  const tried = [...new Set(advice.filter((item) => item.measured).map((item) => triedText(item.measured)))];
  return h(
    "section",
    { class: `verdict ${first.severity}`, "aria-label": `Verdict on ${name}` },
    h(
      "h2",
      {},
      glyph(first.severity, 18),
      h("span", { class: "run-name" }, short),
      h("span", {}, `${first.severity}: `, h("b", {}, words(first.symptom))),
      h("span", { class: "muted" }, `${first.code}, step ${first.step}`),
    ),
    h("p", {}, first.message),
    h(
      "p",
      {},
      first.layers.length ? ["Where: ", h("b", {}, layersText(first.layers, prefix)), ". "] : "",
      more,
      " ",
      show("Show it"),
    ),
    advice.slice(0, SAID).map((item) =>
      h(
        "div",
        { class: "todo" },
        h("span", {}, "What to do:"),
        codeBlock(item.code, copy),
        advice.length > 1 && item.layers.length
          ? h("span", { class: "muted" }, `for ${layersText(item.layers, prefix)}`)
          : null,
      ),
    ),
    advice.length > SAID
      ? h("p", {}, show(`Show all ${advice.length} pieces of advice`))
      : null,
    tried.length ? h("p", { class: "muted" }, `Tried on a batch: ${tried.join("; ")}.`) : null,
    closing,
  );
}

/** What became of the training: means of the first and the last few logged steps. */
function lossText(run) {
  const losses = run.per_step.loss ?? [];
  if (!losses.length) return "";
  const few = Math.max(1, Math.min(5, losses.length >> 1));
  const mean = (part, one) =>
    part.every((value) => typeof value === "number")
      ? part.reduce((sum, value) => sum + value, 0) / part.length
      : one;
  const first = mean(losses.slice(0, few), losses[0]);
  const last = mean(losses.slice(-few), losses.at(-1));
  return `; loss ${figure(first, 3)} at first, ${figure(last, 3)} at last`;
}

/** "signal ratio 19000 → 1.92, loss 2.3 → 2.33". */
function triedText(figures) {
  return pairs(figures)
    .map(({ name, before, after }) => `${words(name)} ${figure(before, 3)} → ${figure(after, 3)}`)
    .join(", ");
}

/** Figures that stand before and after: [{name, before, after}]. */
export function pairs(figures) {
  return Object.keys(figures)
    .filter((key) => key.endsWith("_before"))
    .map((key) => key.slice(0, -"_before".length))
    .filter((name) => `${name}_after` in figures)
    .map((name) => ({ name, before: figures[`${name}_before`], after: figures[`${name}_after`] }));
}

/** The findings of a run, causes first, what follows from one under it. */
export function findingList(app, name, short, run, prefix, chosen) {
  const items = run.findings.map((finding, index) => {
    const selected = index === chosen;
    const held = finding.evidence.filter((item) => item.limit !== null && item.limit !== undefined);
    const others = finding.evidence.filter((item) => !held.includes(item));
    const head = h(
      "button",
      {
        class: "finding-head",
        type: "button",
        "aria-expanded": String(selected),
        click: () => (selected ? app.change({ finding: null }) : app.choose(name, index)),
      },
      glyph(finding.severity),
      h("span", { class: "severity" }, finding.severity),
      h("b", {}, `${finding.code} ${words(finding.symptom)}`),
      h("span", { class: "muted" }, `step ${finding.step}, ${standing(finding)}`),
    );
    const evidence = [
      held.map((item) =>
        h(
          "div",
          { class: "evidence" },
          h("span", {}, words(item.name)),
          h("b", {}, figure(item.value)),
          h("span", { class: "muted" }, `limit ${figure(item.limit)}`),
        ),
      ),
      selected
        ? others.map((item) =>
            h("div", { class: "evidence" }, h("span", {}, words(item.name)), h("b", {}, figure(item.value)), h("span")),
          )
        : null,
    ];
    const layers = finding.layers.length
      ? h(
          "p",
          {},
          h(
            "button",
            { class: "link", type: "button", click: () => app.open(name, finding.layers[0]) },
            layersText(finding.layers, prefix),
          ),
        )
      : null;
    const advice = selected ? run.advice.filter((item) => item.codes.includes(finding.code)) : [];
    return h(
      "li",
      {
        class: `finding ${finding.severity} ${finding.state}${finding.cause ? " follows" : ""}${selected ? " chosen" : ""}`,
        "data-code": finding.code,
      },
      head,
      h("p", {}, finding.message),
      layers,
      evidence,
      advice.map((item) => [
        codeBlock(item.code, copy),
        item.layers.length
          ? h("span", { class: "muted" }, `for ${layersText(item.layers, prefix)}`)
          : null,
      ]),
    );
  });
  const notJudged = run.abstained.length
    ? h("details", {}, h("summary", {}, `Not judged (${run.abstained.length})`), h("ul", {}, run.abstained.map((text) => h("li", {}, text))))
    : null;
  return h(
    "section",
    { class: "findings", "aria-label": `Findings of ${name}` },
    h("h3", {}, "Findings", short ? ` of ${short}` : "", `: ${run.findings.length || "none"}`),
    h("ol", {}, items),
    notJudged,
    h("details", {}, h("summary", {}, "The report as text"), h("pre", {}, run.text)),
  );
}
