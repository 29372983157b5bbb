// What a model is, how good it is, and how far to trust it.

import { make } from "./dom.js";
import { counted, percent } from "./words.js";

const FEW = 10; // classes, as in about.py

export function aboutModel(model, { named, first }) {
  const link = model.can_explain ? [make("p", {}, linkInside(model, "Look inside this network"))] : [];
  const parts = [
    make("div", { class: "sections" }, ...model.sections.map((section) => sectionOf(section))),
    ...classesOf(model), ...link,
  ];
  if (!named) return make("article", {}, ...parts);
  const top1 = typeof model.metrics.top1 !== "number" ? "" : `, ${percent(model.metrics.top1)} right`;
  return make("details", { class: "about-model", open: first },
    make("summary", {}, make("strong", {}, model.name), make("span", { class: "note" }, `${model.engine}${top1}`)), ...parts);
}

export function linkInside({ name }, text) {
  return make("a", { href: `/inside?${new URLSearchParams({ model: name })}` }, text);
}

// A few classes stand in the first section already.
function classesOf({ classes }) {
  if (classes.length <= FEW) return [];
  return [make("details", {}, make("summary", {}, `All ${counted(classes.length, "class", "classes")}`),
    make("ul", { class: "classes" }, ...classes.map((name) => make("li", {}, name))))];
}

function sectionOf({ title, rows, note }) {
  return make("section", { class: "card" }, make("h3", {}, title),
    ...(rows.length ? [make("dl", {}, ...rows.flatMap(([name, text]) => [make("dt", {}, name), make("dd", {}, text)]))] : []),
    ...(note ? [make("p", { class: "note" }, note)] : []));
}
