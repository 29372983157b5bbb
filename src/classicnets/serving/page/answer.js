// The answer of one model, as a card: the best class, doubt in words, and bars.

import { linkInside } from "./about.js";
import { make } from "./dom.js";
import { doubt, percent } from "./words.js";

export class AnswerCard {
  constructor(model, { named }) {
    this.model = model;
    this.hint = named ? "Its answer appears here."
      : "The answer appears here: the best classes, how sure the model is, and whether the image is like those that it " +
        "was trained on.";
    this.content = make("div", { class: "content" });
    this.node = make("article", { class: "card answer", "aria-label": `Answer of ${model.name}` });
    if (named) this.node.append(make("h2", { class: "small" }, model.name));
    this.node.append(this.content);
    this.rest();
  }

  rest() {
    this.content.replaceChildren(make("p", { class: "hint" }, this.hint));
  }

  // The last answer stays, in grey, until the next one comes.
  wait(sentence = "Asking…") {
    this.node.setAttribute("aria-busy", "true");
    const note = this.content.querySelector(".best ~ .note");
    if (note) note.textContent = sentence;
    else this.content.replaceChildren(make("p", { class: "hint" }, sentence));
  }

  fail(sentence) {
    this.node.removeAttribute("aria-busy");
    this.content.replaceChildren(make("p", { class: "problem" }, sentence));
  }

  show(answer, milliseconds) {
    this.node.removeAttribute("aria-busy");
    const [best] = answer.predictions;
    this.content.classList.toggle("unlike", answer.unlike_training === true);
    this.content.replaceChildren(
      make("p", { class: "best" }, make("strong", {}, best.label), " ",
        make("span", { class: "score" }, percent(best.score))),
      ...doubt(answer, this.model).map(({ kind, text }) => make("p", { class: `doubt ${kind}` }, text)),
      bars(answer.predictions),
      make("p", { class: "note" }, `${this.model.engine}, ${this.model.precision}, ${took(milliseconds)}`,
        ...(this.model.can_explain ? [". ", linkInside(this.model, "Look inside")] : [])),
    );
  }
}

function bars(predictions) {
  return make("ol", { class: "bars", "aria-label": "Best classes" }, ...predictions.map(({ label, score }) =>
    make("li", {},
      make("span", { class: "name", title: label }, label),
      make("span", { class: "number" }, percent(score)),
      make("span", { class: "bar", "aria-hidden": "true" }, make("span", { style: { width: `${100 * score}%` } })))));
}

function took(milliseconds) {
  return milliseconds < 1000 ? `${Math.max(1, Math.round(milliseconds))} ms` : `${(milliseconds / 1000).toFixed(1)} s`;
}
