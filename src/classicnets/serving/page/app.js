// The page: one image in front of the chosen models, or many images in a table.

import { aboutModel } from "./about.js";
import { AnswerCard } from "./answer.js";
import { Problem, askJson, hasKey, predict, setKey, setLargest } from "./api.js";
import { Batch } from "./batch.js";
import { Camera } from "./camera.js";
import { programsOf } from "./code.js";
import { byId, fill, make, show, showBlob } from "./dom.js";
import { listExamples } from "./examples.js";
import { Heat } from "./heat.js";
import { takeImages } from "./intake.js";
import { counted, percent, question, together } from "./words.js";

const MOST_CHOSEN = 3; // models that are chosen at first

let models = [];
let cards = new Map(); // of the chosen models, by their names
let file = null; // what the models are asked about
let pictured = null; // the same, or before it while the camera is live
let failed = null; // the last file, if no model has an answer about it
let early = null; // files that came before the models
let batch = null;
let asking = new AbortController();
const heat = new Heat();

function say(problem, status = "") {
  show(byId("toast"), problem !== "");
  byId("problem").textContent = problem;
  byId("status").textContent = status;
}

const sentence = (error) => error instanceof Problem ? error.message : `Something failed on this page: ${error.message}`;

byId("problem-close").addEventListener("click", () => say(""));

// ---- the beginning: the models, or the key that they need

async function begin() {
  let found;
  try {
    found = await askJson("/page/models");
  } catch (error) {
    show(byId("key"), error.status === 401);
    if (error.status === 401 && !hasKey()) byId("key-text").focus();
    else say(error.status === 401 ? "This key is not the right one. Type it again." : sentence(error));
    return;
  }
  say("");
  show(byId("key"), false);
  models = found.models;
  setLargest(found.largest);
  describe();
  layModels();
  choose();
  for (const id of ["places", "try", "about", "code"]) show(byId(id));
  if (early) take(early);
  early = null;
}

byId("key").addEventListener("submit", (event) => {
  event.preventDefault();
  try {
    setKey(byId("key-text").value.trim());
  } catch (error) {
    say(sentence(error));
    return;
  }
  begin();
});

function describe() {
  const [{ name, model, classes }] = models;
  const several = models.length > 1;
  const alike = models.every((other) => other.classes.join("\n") === classes.join("\n"));
  byId("question").textContent = alike ? question(classes) : "What is in this image?";
  byId("lead").textContent = several
    ? `${counted(models.length, "model")} answer side by side.`
    : `${name} tells ${counted(classes.length, "class", "classes")} apart${name === model ? "" : ` with ${model}`}.`;
  byId("about").querySelector("h2").textContent = several ? "About the models" : "About the model";
  byId("about-list").replaceChildren(...models.map((one, i) => aboutModel(one, { named: several, first: i === 0 })));
  fill(byId("code-model"), models.map((one) => [one.name, one.name]));
  show(byId("code-model-label"), several);
  writeCode();
}

function writeCode() {
  byId("code-list").replaceChildren(
    ...programsOf(location.origin, byId("code-model").value, say));
}

byId("code-model").addEventListener("change", writeCode);

// ---- the models that are asked

function layModels() {
  const boxes = models.map(({ name }, i) => make("label", { class: "chip" },
    make("input", { type: "checkbox", value: name, checked: i < MOST_CHOSEN, onchange: choose }), name));
  byId("models").replaceChildren(byId("models").querySelector("legend"), ...boxes);
  show(byId("models"), models.length > 1);
}

function chosen() {
  const boxes = [...byId("models").querySelectorAll("input:checked")];
  return boxes.map((box) => models.find(({ name }) => name === box.value));
}

function choose() {
  const now = chosen();
  const kept = cards;
  cards = new Map(now.map((model) =>
    [model.name, kept.get(model.name) ?? new AnswerCard(model, { named: models.length > 1 })]));
  byId("answers").replaceChildren(...[...cards.values()].map((card) => card.node));
  byId("bench").classList.toggle("many", now.length > 1);
  const coverages = [...new Set(now.flatMap((model) => model.coverages))].sort();
  fill(byId("coverage"), [["", "none"], ...coverages.map((share) => [share, percent(share, 0)])]);
  show(byId("coverage-label"), coverages.length > 0);
  heat.setModels(now);
  listExamples(now[0], open);
  if (now.length) {
    say("");
    if (file) answer();
  } else {
    asking.abort();
    show(byId("together"), false);
    say("Choose a model: none is asked now.");
  }
}

byId("coverage").addEventListener("change", () => { if (file) answer(); });

// ---- one image

function open(image) {
  file = pictured = image;
  say("");
  camera.close();
  show(byId("batch"), false);
  show(byId("bench"));
  show(byId("empty"), false);
  show(byId("shown"));
  show(byId("back"), batch !== null);
  byId("photo-name").textContent = image.name;
  byId("photo").alt = image.name;
  byId("frame").classList.remove("small", "unseen");
  showBlob(byId("photo"), image);
  failed = null;
  heat.setFile(image);
  placeHeat();
  answer();
}

// A map needs an image on the page that a model can answer about.
function placeHeat() {
  show(byId("heat"), !byId("shown").hidden && failed !== file);
}

byId("photo").addEventListener("load", () => {
  byId("frame").classList.toggle("small", byId("photo").naturalWidth < 160);
});
byId("photo").addEventListener("error", () => {
  byId("frame").classList.add("unseen");
  byId("photo-name").textContent = `${pictured.name}: this browser cannot show it.`;
});

function clear() {
  asking.abort();
  file = pictured = null;
  say("");
  showBlob(byId("photo"), null);
  heat.setFile(null);
  for (const card of cards.values()) card.rest();
  show(byId("together"), false);
  show(byId("shown"), false);
  placeHeat();
  show(byId("empty"));
  byId("choose").focus();
}

byId("clear").addEventListener("click", clear);

// Live answers replace each other without a word and without a flicker.
async function answer({ live = false } = {}) {
  asking.abort();
  asking = new AbortController();
  const { signal } = asking;
  if (!live) {
    show(byId("together"), false);
    for (const card of cards.values()) card.wait();
  }
  const answers = await Promise.all([...cards.values()].map((card) => answerOne(card, signal)));
  if (signal.aborted) return;
  const good = answers.filter(Boolean);
  const failedBefore = failed === file;
  failed = good.length ? null : file;
  if (failed) heat.wipe();
  else if (failedBefore && heat.on) heat.draw();
  placeHeat();
  byId("together").textContent = together(good);
  show(byId("together"), good.length > 1);
  if (!live) say("", good.map(({ predictions: [best] }) => `${best.label}, ${percent(best.score)}.`).join(" "));
}

async function answerOne(card, signal) {
  const { name, coverages } = card.model;
  const coverage = coverages.map(String).includes(byId("coverage").value) ? byId("coverage").value : "";
  const began = performance.now();
  try {
    const found = await predict(name, file, { coverage }, signal, (text) => {
      card.wait(text);
      say("", text);
    });
    if (signal.aborted) return null;
    card.show(found, performance.now() - began);
    return found;
  } catch (error) {
    if (!signal.aborted) card.fail(sentence(error));
    return null;
  }
}

// ---- where images come from

function take(files) {
  if (!models.length) early = files;
  else if (!cards.size) say("Choose a model first: none is asked now.");
  else if (files.length === 1) open(files[0]);
  else openBatch(files);
}

const camera = new Camera({
  onFile: open,
  onFrame(frame) {
    file = frame;
    return answer({ live: true });
  },
  onProblem: say,
  onChange(isOn) {
    show(byId("empty"), !isOn && !file);
    show(byId("shown"), !isOn && file !== null);
    show(byId("camera-open"), !isOn);
    placeHeat();
    if (!isOn && file !== pictured) open(file);
  },
});
takeImages({ onFiles: take, onProblem: say });

// ---- many images

function openBatch(files) {
  closeBatch();
  if (file) clear();
  camera.close();
  batch = new Batch({ files, models: chosen(), coverage: byId("coverage").value, onOpen: open });
  showBatch();
  batch.run();
}

function showBatch() {
  asking.abort();
  show(byId("bench"), false);
  show(byId("batch"));
}

function closeBatch() {
  batch?.stop();
  batch = null;
  show(byId("back"), false);
  show(byId("batch"), false);
  show(byId("bench"));
}

byId("back").addEventListener("click", () => { clear(); showBatch(); byId("batch-save").focus(); });
byId("batch-close").addEventListener("click", () => { closeBatch(); byId("choose").focus(); });

window.addEventListener("unhandledrejection", (event) => say(sentence(event.reason)));

begin();
