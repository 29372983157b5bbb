// Many images: each model is asked about each one, a few requests at a time; the answers make a table and a CSV file.

import { Problem, predict } from "./api.js";
import { csvText } from "./csv.js";
import { byId, make, save, show } from "./dom.js";
import { UNLIKE, counted, percent } from "./words.js";

const AT_ONCE = 2; // requests, so that others are answered meanwhile
const COLUMNS = ["path", "model", "label", "score", "index", "set", "unlike_training", "error"];

export class Batch {
  constructor({ files, models, coverage, onOpen }) {
    Object.assign(this, { files, models, coverage, onOpen });
    this.rows = files.map((file) => ({ file, answers: new Map() }));
    this.waiting = [...this.rows];
    this.done = 0;
    this.bad = 0;
    this.asking = null;
    byId("batch-stop").onclick = () => this.stop();
    byId("batch-go").onclick = () => this.run();
    byId("batch-save").onclick = () => save("answers.csv", "text/csv", this.csv());
    this.layTable();
    this.showProgress();
  }

  async run() {
    const { signal } = this.asking = new AbortController();
    this.note("");
    this.showProgress();
    await Promise.all(Array.from({ length: AT_ONCE }, () => this.work(signal)));
    if (this.asking?.signal === signal) this.asking = null;
    this.showProgress();
  }

  stop() {
    this.asking?.abort();
    this.asking = null;
    this.showProgress();
  }

  async work(signal) {
    while (this.waiting.length && !signal.aborted) {
      const row = this.waiting.shift();
      try {
        for (const model of this.models) await this.answer(row, model, signal);
      } catch (error) {
        this.waiting.unshift(row); // "Go on" asks again
        if (signal.aborted) return;
        this.stop();
        this.note(error.message);
        return;
      }
      this.done += 1;
      if ([...row.answers.values()].some(({ error }) => error)) this.bad += 1;
      this.showRow(row);
      this.showProgress();
    }
  }

  // An image that cannot be answered has an error in its row. A server that is gone or busy stops the batch.
  async answer(row, model, signal) {
    if (row.answers.has(model.name)) return;
    const coverage = model.coverages.map(String).includes(this.coverage) ? this.coverage : "";
    try {
      const say = (sentence) => this.note(sentence);
      row.answers.set(model.name, await predict(model.name, row.file, { topK: 1, coverage }, signal, say));
      this.note("");
    } catch (error) {
      if (!(error instanceof Problem) || [0, 401, 503].includes(error.status)) throw error;
      row.answers.set(model.name, { error: error.message });
    }
  }

  layTable() {
    const heads = ["Image", ...this.models.map(({ name }) => this.models.length > 1 ? name : "Answer")];
    for (const row of this.rows) {
      const open = make("button", { class: "link", onclick: () => this.onOpen(row.file) }, pathOf(row.file));
      row.cells = this.models.map(() => make("td", {}, "…"));
      row.node = make("tr", {}, make("td", {}, open), ...row.cells);
    }
    byId("batch-table").replaceChildren(
      make("thead", {}, make("tr", {}, ...heads.map((text) => make("th", { scope: "col" }, text)))),
      make("tbody", {}, ...this.rows.map(({ node }) => node)));
  }

  showRow({ file, answers, cells }) {
    this.models.forEach(({ name }, i) => cells[i].replaceChildren(...inWords(answers.get(name), file)));
  }

  showProgress() {
    const all = this.rows.length;
    const finished = this.done === all;
    byId("batch-title").textContent = finished ? counted(all, "image") : `${this.done} of ${counted(all, "image")}`;
    byId("batch-bar").max = all;
    byId("batch-bar").value = this.done;
    show(byId("batch-bar"), !finished);
    show(byId("batch-stop"), this.asking !== null && !finished);
    show(byId("batch-go"), this.asking === null && !finished);
    byId("batch-save").disabled = this.done === 0;
    if (finished) {
      this.note(this.bad ? `${counted(this.bad, "image")} could not be answered: see the table.` : "All are answered.");
    }
  }

  note(text) {
    if (byId("batch-note").textContent !== text) byId("batch-note").textContent = text;
  }

  csv() {
    const rows = this.rows.flatMap(({ file, answers }) => [...answers].map(([model, answer]) => {
      const best = answer.predictions?.[0] ?? {};
      const set = answer.set && JSON.stringify(answer.set);
      return [pathOf(file), model, best.label, best.score, best.index, set, answer.unlike_training, answer.error];
    }));
    return csvText(COLUMNS, rows);
  }
}

const pathOf = (file) => file.webkitRelativePath || file.name;

function inWords({ error, predictions, set, unlike_training: unlike }, file) {
  if (error) return [make("span", { class: "problem" }, error.replace(`${file.name}: `, ""))];
  const [{ label, score }] = predictions;
  const more = [set && set.length > 1 && `or ${set.slice(1, 6).join(", ")}`, unlike && UNLIKE].filter(Boolean);
  return [label, " ", make("span", { class: "note" }, percent(score)), ...more.map((text) =>
    make("span", { class: "more" }, text))];
}
