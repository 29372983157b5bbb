// What a model is, how good it is, and how far to trust it.

import { make } from "./dom.js";
import { counted } from "./words.js";

export function aboutModel(model, { named }) {
  const heading = named ? [make("h3", { class: "model-name" }, model.name)] : [];
  const link = model.can_explain
    ? [make("p", {}, make("a", { href: `/inside?${new URLSearchParams({ model: model.name })}` }, "Look inside this network"))]
    : [];
  return make("article", { class: "about-model" }, ...heading,
    make("div", { class: "sections" }, ...model.sections.map((section) => sectionOf(section, named))),
    make("details", {}, make("summary", {}, `All ${counted(model.classes.length, "class", "classes")}`),
      make("ul", { class: "classes" }, ...model.classes.map((name) => make("li", {}, name)))),
    ...link);
}

function sectionOf({ title, rows, note }, named) {
  return make("section", { class: "card" }, make(named ? "h4" : "h3", {}, title),
    ...(rows.length ? [make("dl", {}, ...rows.flatMap(([name, text]) => [make("dt", {}, name), make("dd", {}, text)]))] : []),
    ...(note ? [make("p", { class: "note" }, note)] : []));
}
