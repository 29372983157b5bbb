// The page that looks into a network: an image, its stages, their channels, and one unit at a time.

import { Problem, ask, askJson, checkSize, setLargest } from "./api.js";
import { byId, fill, make, show } from "./dom.js";
import { listExamples } from "./examples.js";
import { takeImages } from "./intake.js";
import { number, showValue } from "./patch.js";
import { counted, percent } from "./words.js";

const MOST = 64; // channels that are shown at first
const ALL = 256;

let models = [];
let opened = null; // {picture, classes, stages, seen: the picture as a Blob}
let stage = null; // of opened.stages
let channel = null; // {channel, lowest, highest, peak, picture}
let unit = { row: 0, column: 0 };
let kept = false; // whether the pointer leaves the unit alone

const FREE = "Dark is low, bright is high. Move over the map, or use the arrow keys, to choose a unit. Click or Enter keeps it.";
const KEPT = "This unit is kept. Click or press Enter to choose with the pointer again.";

const name = () => byId("model").value;
const model = () => models.find((one) => one.name === name());

function say(problem, status = "") {
  byId("problem").textContent = problem;
  byId("status").textContent = status;
}

const sentence = (error) => error instanceof Problem ? error.message : `Something failed on this page: ${error.message}`;

function question(path, values = {}) {
  return `/inside/${path}?${new URLSearchParams({ model: name(), ...values })}`;
}

// Runs one question at a time. Of those that come meanwhile, only the last is asked.
class Latest {
  constructor(run) {
    this.run = run;
    this.next = null;
    this.busy = false;
  }

  async ask() {
    this.next = true;
    if (this.busy) return;
    this.busy = true;
    while (this.next) {
      this.next = null;
      try {
        await this.run();
        say("", byId("status").textContent);
      } catch (error) {
        say(sentence(error));
      }
    }
    this.busy = false;
  }
}

// ---- the beginning: the models, and an image

async function begin() {
  let found;
  try {
    found = await askJson("/page/models");
  } catch (error) {
    if (error.status !== 401) return say(sentence(error));
    byId("problem").replaceChildren("This server needs a key. Type it on ", make("a", { href: "/" }, "the first page"), ", then come back.");
    return;
  }
  models = found.models;
  setLargest(found.largest);
  fill(byId("model"), models.map((one) => [one.name, one.name]));
  show(byId("model-label"), models.length > 1);
  const asked = new URLSearchParams(location.search).get("model");
  const usual = models.find((one) => one.name === asked) ?? models.find((one) => one.can_explain) ?? models[0];
  byId("model").value = usual.name;
  chooseModel();
}

function chooseModel() {
  const { name, can_explain: canLook, model: network, input_size: [height, width] } = model();
  history.replaceState(null, "", `/inside?${new URLSearchParams({ model: name })}`);
  close();
  show(byId("start"), canLook);
  say(canLook ? "" : `${name} is a bundle, which keeps no network to look into. Serve its run instead: classicnets serve RUN.`);
  byId("lead").textContent = canLook ?
    `${name === network ? "" : `The network of ${name} is ${network}. `}Give it an image, and see what every stage makes of its ${width} × ${height} pixels.` : "";
  if (canLook) listExamples(model(), open);
}

function close() {
  opened = null;
  show(byId("inside"), false);
  byId("start").classList.remove("small-start");
}

async function open(file) {
  say("", `Opening ${file.name}`);
  try {
    checkSize(file);
    opened = await askJson(question("open"), { body: file });
  } catch (error) {
    say(sentence(error).replace(/^the image:/, `${file.name}:`));
    return;
  }
  opened.seen = blobOf(opened.picture);
  byId("start").classList.add("small-start");
  byId("picture").src = opened.picture;
  show(byId("inside"));
  layStages();
  showAnswer(opened.classes);
  chooseStage(opened.stages.find((one) => one.name === stage?.name) ?? opened.stages[0]);
}

// The content of a data URI, which fetch must not read: the policy allows this server only.
function blobOf(uri) {
  const bytes = Uint8Array.from(atob(uri.split(",")[1]), (letter) => letter.charCodeAt(0));
  return new Blob([bytes], { type: "image/png" });
}

// ---- stages and channels: groups in which the arrow keys choose

function layStages() {
  byId("stages").replaceChildren(...opened.stages.map((one) => make("button",
    { role: "radio", "aria-checked": "false", tabindex: "-1", onclick: () => chooseStage(one) },
    one.name, make("span", {}, `${one.channels} × ${one.height} × ${one.width}`))));
}

function check(group, place) {
  [...group.children].forEach((button, i) => {
    button.setAttribute("aria-checked", String(i === place));
    button.tabIndex = i === place ? 0 : -1;
  });
}

function arrows(group, choose) {
  group.addEventListener("keydown", (event) => {
    const all = [...group.children];
    const at = all.indexOf(document.activeElement);
    const across = all.filter((one) => one.offsetTop === all[0].offsetTop).length;
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: across, ArrowUp: -across, Home: -at, End: all.length - 1 - at }[event.key];
    if (step === undefined || at < 0) return;
    event.preventDefault();
    const to = Math.min(all.length - 1, Math.max(0, at + step));
    all[to].focus();
    choose(to);
  });
}

arrows(byId("stages"), (place) => chooseStage(opened.stages[place]));
arrows(byId("channels"), (place) => chooseChannel(place));

let most = MOST;
let maps = [];

function chooseStage(one, shown = MOST) {
  const same = stage === one;
  stage = one;
  most = shown;
  check(byId("stages"), opened.stages.indexOf(one));
  if (!same) {
    kept = false;
    channel = null;
  }
  byId("channels").setAttribute("aria-busy", "true");
  askMaps.ask();
}

const askMaps = new Latest(async () => {
  const asked = { image: opened, stage, most };
  const found = await askJson(question("maps", { stage: stage.name, most }), { body: opened.seen });
  if (asked.image !== opened || asked.stage !== stage || asked.most !== most) return;
  maps = found.maps;
  byId("channels").removeAttribute("aria-busy");
  byId("channels-title").textContent = maps.length < stage.channels ?
    `${maps.length} of ${counted(stage.channels, "channel")} of ${stage.name}, the strongest first` :
    `${counted(stage.channels, "channel")} of ${stage.name}, the strongest first`;
  show(byId("more"), maps.length < Math.min(ALL, stage.channels));
  byId("more").textContent = stage.channels > ALL ? `Show ${ALL} channels` : "Show all channels";
  byId("channels").replaceChildren(...maps.map((map, i) => make("button",
    { role: "radio", "aria-checked": "false", tabindex: "-1", "aria-label": `Channel ${map.channel}, at most ${number(map.highest)}`,
      onclick: () => chooseChannel(i) },
    make("img", { class: "pixels", src: map.picture, alt: "" }), make("span", {}, map.channel))));
  const before = maps.findIndex((map) => map.channel === channel?.channel);
  chooseChannel(Math.max(0, before));
});

byId("more").addEventListener("click", () => chooseStage(stage, ALL));

// Begins at the channel's highest value, unless a place is kept.
function chooseChannel(place) {
  const same = channel?.channel === maps[place].channel;
  channel = maps[place];
  check(byId("channels"), place);
  byId("map-picture").src = channel.picture;
  byId("map-title").textContent = `Channel ${channel.channel} of ${stage.name}: ${number(channel.lowest)} to ${number(channel.highest)}`;
  if (same || kept) chooseUnit(unit.row, unit.column);
  else chooseUnit(...channel.peak);
}

// ---- the unit

function chooseUnit(row, column) {
  unit = { row: clamp(row, stage.height), column: clamp(column, stage.width) };
  put(byId("unit"), [unit.row, unit.row], [unit.column, unit.column], stage);
  byId("map").classList.toggle("kept", kept);
  byId("map-help").textContent = kept ? KEPT : FREE;
  byId("value").setAttribute("aria-busy", "true");
  askUnit.ask();
  if (off()) askWithout.ask();
}

const clamp = (place, size) => Math.max(0, Math.min(size - 1, place));

// Lays a rectangle of positions, [first, last] each, over a picture of a size.
function put(node, [top, bottom], [left, right], { height, width }) {
  Object.assign(node.style, {
    top: `${100 * top / height}%`, height: `${100 * (bottom + 1 - top) / height}%`,
    left: `${100 * left / width}%`, width: `${100 * (right + 1 - left) / width}%`,
  });
}

const askUnit = new Latest(async () => {
  const found = await askJson(question("unit", { stage: stage.name, channel: channel.channel, ...unit }), { body: opened.seen });
  byId("value").removeAttribute("aria-busy");
  const first = opened.stages[0].name === found.source.stage && isImage(found.source);
  showValue(found, first);
  showField(found.area);
  say("", `Channel ${found.channel}, row ${found.row}, column ${found.column}: ${number(found.value)}`);
});

// Whether a convolution reads the image itself: its input is as large as the image.
function isImage(source) {
  const [height, width] = model().input_size;
  return source.channels === model().channels && source.size[0] === height && source.size[1] === width;
}

function showField(area) {
  const [height, width] = model().input_size;
  const [rows, columns] = area ?? [[0, height - 1], [0, width - 1]];
  put(byId("field"), rows, columns, { height, width });
  show(byId("field"));
  const size = `${rows[1] - rows[0] + 1} × ${columns[1] - columns[0] + 1}`;
  const whole = size === `${height} × ${width}`;
  byId("field-text").textContent = whole ? "The unit sees the whole image." :
    `The unit sees ${size} pixels: rows ${rows[0]} to ${rows[1]}, columns ${columns[0]} to ${columns[1]}.`;
}

const at = (event) => {
  const box = byId("map").getBoundingClientRect();
  return [Math.floor(stage.height * (event.clientY - box.top) / box.height), Math.floor(stage.width * (event.clientX - box.left) / box.width)];
};

byId("map").addEventListener("pointermove", (event) => {
  if (kept && event.pointerType === "mouse") return;
  const [row, column] = at(event);
  if (clamp(row, stage.height) !== unit.row || clamp(column, stage.width) !== unit.column) chooseUnit(row, column);
});
byId("map").addEventListener("click", (event) => {
  kept = !kept;
  chooseUnit(...at(event));
});
byId("map").addEventListener("keydown", (event) => {
  const { row, column } = unit;
  const to = { ArrowRight: [row, column + 1], ArrowLeft: [row, column - 1], ArrowDown: [row + 1, column], ArrowUp: [row - 1, column],
    Home: [row, 0], End: [row, stage.width - 1] }[event.key];
  if (event.key === "Enter" || event.key === " ") kept = !kept;
  else if (!to) return;
  event.preventDefault();
  chooseUnit(...(to ?? [row, column]));
});

// ---- the answer, with something switched off or without

const off = () => document.querySelector("input[name=off]:checked").value;

for (const input of document.querySelectorAll("input[name=off]")) {
  input.addEventListener("change", () => {
    if (off()) askWithout.ask();
    else showAnswer(opened.classes);
  });
}

const askWithout = new Latest(async () => {
  const values = { stage: stage.name, channel: channel.channel, ...(off() === "unit" ? unit : {}) };
  const { classes } = await askJson(question("without", values), { body: opened.seen });
  if (off()) showAnswer(classes);
});

function showAnswer(classes) {
  const changed = classes[0].after !== undefined;
  const bar = (share, kind) => make("span", { class: `bar ${kind}`, "aria-hidden": "true" }, make("span", { style: { width: `${100 * share}%` } }));
  byId("answer").replaceChildren(...classes.slice(0, 6).map(({ label, before, after }) => make("li", {},
    make("span", { class: "name", title: label }, label),
    make("span", { class: "number" }, changed ? `${percent(before)} → ${percent(after)}` : percent(before)),
    bar(before, "before"), ...(changed ? [bar(after, "after")] : []))));
  byId("moved").textContent = changed ? moved(classes) : "";
}

function moved(classes) {
  const before = classes[0];
  const after = classes.reduce((best, one) => one.after > best.after ? one : best);
  const without = off() === "unit" ? "this unit" : `channel ${channel.channel}`;
  if (after !== before) return `Without ${without} the answer is ${after.label} instead of ${before.label}.`;
  const change = 100 * (before.after - before.before);
  if (Math.abs(change) < 0.05) return `Without ${without} the answer does not move.`;
  return `Without ${without}, ${before.label} ${change < 0 ? "loses" : "gains"} ${Math.abs(change).toFixed(1)} points.`;
}

// ----

takeImages({ onFiles: ([first]) => { if (model()?.can_explain) open(first); }, onProblem: (text) => say(text) });
byId("model").addEventListener("change", chooseModel);
begin();
