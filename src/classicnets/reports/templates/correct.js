"use strict";
// One suspect at a time. Each decision is sent at once, and shown as decided only after it is saved.

const element = (id) => document.getElementById(id);
const pictures = new Map(); // what the server told about a suspect, by its number
const undone = []; // [number, the decision before], the latest last
let state = null;
let at = 0;
let busy = false;

async function ask(path, body) {
  const options = body === undefined ? {} :
    { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  let answer;
  try {
    answer = await fetch(location.pathname + path, options);
  } catch {
    throw new Error("The page's program does not answer. Start it again; what was decided is saved.");
  }
  const found = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(found.error || `The page's program answered ${answer.status}.`);
  return found;
}

function described(number) {
  if (!pictures.has(number)) {
    pictures.set(number, ask(`suspect/${number}`).catch((error) => { pictures.delete(number); throw error; }));
    if (pictures.size > 50) pictures.delete(pictures.keys().next().value);
  }
  return pictures.get(number);
}

function images(place, found) {
  place.replaceChildren(...found.filter((one) => one.picture).map((one) => {
    const image = document.createElement("img");
    image.className = "pixels";
    image.src = one.picture;
    image.alt = image.title = one.path;
    return image;
  }));
}

function inWords(decision) {
  if (!decision) return "not decided yet";
  return decision.action === "relabel" ? `relabelled ${decision.label}` :
    { keep: "label kept", drop: "image dropped" }[decision.action];
}

function showDecision() {
  const suspect = state.suspects[at];
  const decided = state.suspects.filter((one) => one.decision).length;
  const all = state.suspects.length;
  element("progress").textContent = `${at + 1} of ${all}; ${decided === all ? "all" : decided} decided.`;
  element("decision").textContent = inWords(suspect.decision);
  element("decision").classList.toggle("open", !suspect.decision);
}

function show() {
  const suspect = state.suspects[at];
  closeClasses();
  for (const [id, text] of [["path", suspect.path], ["label", suspect.label], ["proposed", suspect.proposed],
    ["score", `${(100 * suspect.score).toFixed(1)} %`], ["accept", suspect.proposed],
    ["like-label-name", suspect.label], ["like-proposed-name", suspect.proposed]]) element(id).textContent = text;
  showDecision();
  element("picture").removeAttribute("src");
  images(element("like-label"), []);
  images(element("like-proposed"), []);
  load(at).catch((error) => { element("problem").textContent = error.message; });
}

async function load(number) {
  const found = await described(number);
  if (number !== at) return;
  element("problem").textContent = found.picture ? "" : "This image is gone or cannot be read.";
  if (found.picture) element("picture").src = found.picture;
  element("picture").alt = found.path;
  images(element("like-label"), found.like_label);
  images(element("like-proposed"), found.like_proposed);
  if (at + 1 < state.suspects.length) described(at + 1).catch(() => {});
}

async function save(number, decision) {
  await ask("decide", { number, action: decision ? decision.action : "", label: decision ? decision.label : "" });
  state.suspects[number].decision = decision;
}

async function decide(action, label = "") {
  const before = state.suspects[at].decision;
  await save(at, { action, label });
  undone.push([at, before]);
  showDecision();
  const open = state.suspects.findIndex((one, number) => number > at && !one.decision);
  go(open >= 0 ? open : at + 1);
}

async function undo() {
  const [number, before] = undone.length ? undone.pop() : [at, null];
  await save(number, before);
  go(number);
}

function go(number) {
  at = Math.max(0, Math.min(state.suspects.length - 1, number));
  show();
}

function openClasses() {
  element("classes").hidden = false;
  element("filter").value = "";
  listClasses();
  element("filter").focus();
}

function closeClasses() {
  element("classes").hidden = true;
  element("filter").blur();
}

function matching() {
  const text = element("filter").value.trim().toLowerCase();
  const named = state.classes.filter((name) => name.toLowerCase().includes(text));
  return named.sort((a, b) => b.toLowerCase().startsWith(text) - a.toLowerCase().startsWith(text)).slice(0, 12);
}

function listClasses() {
  element("matches").replaceChildren(...matching().map((name) => {
    const item = document.createElement("li");
    const button = document.createElement("button");
    button.textContent = name;
    button.addEventListener("click", () => run(() => decide("relabel", name)));
    item.append(button);
    return item;
  }));
}

const actions = {
  keep: () => decide("keep"),
  relabel: () => decide("relabel", state.suspects[at].proposed),
  drop: () => decide("drop"),
  other: openClasses,
  undo,
  next: () => go(at + 1),
  back: () => go(at - 1),
};
const keys = { k: "keep", enter: "relabel", p: "relabel", o: "other", d: "drop", u: "undo", n: "next", b: "back",
  arrowright: "next", arrowleft: "back" };

async function run(work) {
  if (busy || !state || !state.suspects.length) return;
  busy = true;
  try {
    element("problem").textContent = "";
    await work();
  } catch (error) {
    element("problem").textContent = error.message;
  } finally {
    busy = false;
  }
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  const key = event.key.toLowerCase();
  if (event.target === element("filter")) {
    if (key === "escape") closeClasses();
    if (key === "enter" && matching().length) {
      event.preventDefault();
      const name = matching()[0];
      run(() => decide("relabel", name));
    }
    return;
  }
  if (key === "enter" && event.target.tagName === "BUTTON") return; // it presses the button
  if (keys[key]) {
    event.preventDefault();
    run(actions[keys[key]]);
  }
});
element("filter").addEventListener("input", listClasses);
for (const button of document.querySelectorAll("[data-do]")) {
  button.addEventListener("click", () => { button.blur(); run(actions[button.dataset.do]); });
}

ask("state").then((found) => {
  state = found;
  if (!state.suspects.length) {
    element("progress").textContent = "No suspects: there is nothing to correct.";
    return;
  }
  element("editor").hidden = false;
  const open = state.suspects.findIndex((one) => !one.decision);
  run(() => go(open >= 0 ? open : 0));
}).catch((error) => { element("problem").textContent = error.message; });
