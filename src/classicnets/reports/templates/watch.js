"use strict";
// Shows the state of a training, which its program sends about once a second, until the training is over.

const element = (id) => document.getElementById(id);
const PHASES = { preparing: "Preparing", training: "Training", validating: "Validating", measuring: "Measuring", finished: "Finished",
  stopped: "Stopped", failed: "Failed" };
const OVER = ["finished", "stopped", "failed"];
let state = null;

async function ask(place, body) {
  const options = body === undefined ? {} :
    { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  const answer = await fetch(location.pathname + place, options);
  const found = await answer.json();
  if (!answer.ok) throw new Error(found.error);
  return found;
}

// ---- words

const percent = (share) => `${(100 * share).toFixed(2)} %`;
const short = (value) => value === 0 ? "0" : Math.abs(value) >= 0.001 && Math.abs(value) < 10000 ?
  String(Number(value.toPrecision(3))) : value.toExponential(1);
const whole = (value) => Math.round(value).toLocaleString("en");

function clock(seconds) {
  const all = Math.round(seconds);
  const two = (number) => String(number).padStart(2, "0");
  const rest = `${Math.floor(all / 60) % 60}:${two(all % 60)}`;
  return all < 3600 ? rest : `${Math.floor(all / 3600)}:${rest.padStart(5, "0")}`;
}

function say(id, text) {
  if (element(id).textContent !== text) element(id).textContent = text;
}

// ---- charts: the x axis is in epochs

const SVG = "http://www.w3.org/2000/svg";
const LEFT = 46, RIGHT = 12, TOP = 10, BOTTOM = 22;
const charts = {};

function draw(parent, tag, kind, attributes, text) {
  const made = document.createElementNS(SVG, tag);
  if (kind) made.setAttribute("class", kind);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = text;
  parent.append(made);
  return made;
}

function ticks(low, high, most) {
  const rough = (high - low) / most;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough * 0.999);
  const found = [];
  for (let at = Math.ceil(low / step - 1e-9) * step; at <= high + step * 1e-6; at += step) found.push(Number(at.toPrecision(12)));
  return found;
}

function chart(name, lines, low, high, format) {
  const svg = element(`chart-${name}`);
  const [, , width, height] = svg.getAttribute("viewBox").split(" ").map(Number);
  const last = state.epochs;
  const x = (epoch) => LEFT + (width - LEFT - RIGHT) * epoch / last;
  const y = (value) => TOP + (height - TOP - BOTTOM) * (high - Math.min(high, Math.max(low, value))) / (high - low);
  svg.replaceChildren();
  for (const tick of ticks(low, high, 4)) {
    draw(svg, "line", "grid", { x1: LEFT, x2: width - RIGHT, y1: y(tick), y2: y(tick) });
    draw(svg, "text", "", { x: LEFT - 6, y: y(tick) + 4, "text-anchor": "end" }, format(tick));
  }
  for (const tick of ticks(0, last, 6).filter(Number.isInteger)) {
    draw(svg, "text", "", { x: x(tick), y: height - 5, "text-anchor": tick === last ? "end" : "middle" },
      tick === 0 ? "epoch 0" : tick);
  }
  for (const line of lines) {
    const known = line.points.filter(([, value]) => value !== null);
    if (!known.length) continue;
    draw(svg, "polyline", `curve ${line.kind}`, { points: known.map(([at, value]) => `${x(at).toFixed(1)},${y(value).toFixed(1)}`).join(" ") });
    if (line.dots) for (const [at, value] of known) draw(svg, "circle", `dot ${line.kind}`, { cx: x(at), cy: y(value), r: known.length > 60 ? 1.5 : 3 });
  }
  charts[name] = { svg, lines, format, width, height, x, last };
  read(name);
}

// The numbers below a chart: those at the pointer, or the last ones.
function read(name) {
  const { svg, lines, format, width, height, x, last, at } = charts[name];
  svg.querySelector(".cursor")?.remove();
  if (at !== undefined) draw(svg, "line", "cursor", { x1: x(at), x2: x(at), y1: TOP, y2: height - BOTTOM });
  const words = lines.map((line) => {
    const known = line.points.filter(([, value]) => value !== null);
    const found = known.length && known.reduce((best, one) =>
      Math.abs(one[0] - (at ?? last)) < Math.abs(best[0] - (at ?? last)) ? one : best);
    return [line.kind, found ? `${line.name} ${format(found[1], true)}${at === undefined ? "" : ` (epoch ${short(found[0])})`}` : line.name];
  });
  const places = element(`key-${name}`);
  while (places.children.length < words.length) places.append(document.createElement("span"));
  words.forEach(([kind, text], i) => { places.children[i].className = kind; places.children[i].textContent = text; });
  svg.setAttribute("aria-label", `By epoch: ${words.map(([, text]) => text).join(", ")}`);
}

for (const name of ["loss", "accuracy", "rate"]) {
  const svg = element(`chart-${name}`);
  const move = (event) => {
    if (!charts[name]) return;
    const box = svg.getBoundingClientRect();
    const { width, last } = charts[name];
    const place = (event.clientX - box.left) * width / box.width;
    charts[name].at = Math.min(last, Math.max(0, last * (place - LEFT) / (width - LEFT - RIGHT)));
    read(name);
  };
  svg.addEventListener("pointermove", move);
  svg.addEventListener("pointerleave", () => { if (charts[name]) { delete charts[name].at; read(name); } });
}

function showCharts() {
  const perEpoch = state.num_steps / state.epochs;
  const { step, loss, rate } = state.curve;
  const rows = (key) => state.rows.map((row) => [row.epoch, row[key]]);
  const steps = (values) => step.map((at, i) => [at / perEpoch, values[i]]);
  const kept = {};
  for (const name of Object.keys(charts)) kept[name] = charts[name].at;

  const losses = [...loss, ...state.rows.flatMap((row) => [row.train_loss, row.val_loss])].filter((value) => value !== null);
  const highest = losses.sort((a, b) => a - b)[Math.ceil(0.98 * losses.length) - 1] ?? 1;
  chart("loss", [
    { name: "steps", kind: "batch", points: steps(loss) },
    { name: "training", kind: "train", points: rows("train_loss"), dots: true },
    { name: "validation", kind: "val", points: rows("val_loss"), dots: true },
  ], 0, (highest || 1) * 1.05, (value, exact) => exact ? value.toFixed(3) : short(value));

  const accuracies = state.rows.flatMap((row) => [row.train_accuracy, row.val_accuracy]).filter((value) => value !== null);
  const low = accuracies.length ? Math.max(0, Math.floor(10 * Math.min(...accuracies) - 0.2) / 10) : 0;
  chart("accuracy", [
    { name: "training", kind: "train", points: rows("train_accuracy"), dots: true },
    { name: "validation", kind: "val", points: rows("val_accuracy"), dots: true },
  ], low, 1, (value, exact) => exact ? percent(value) : `${Math.round(100 * value)} %`);

  chart("rate", [{ name: "rate", kind: "val", points: steps(rate) }], 0, Math.max(...rate, 1e-12) * 1.05, short);
  for (const [name, at] of Object.entries(kept)) {
    if (at !== undefined) { charts[name].at = at; read(name); }
  }
}

// ---- the rest

function show() {
  const over = OVER.includes(state.phase);
  const done = state.num_steps ? state.step / state.num_steps : 0;
  const words = state.stopping && !over ? "Stopping" : PHASES[state.phase];
  say("phase", words);
  document.title = `${over ? words : `${Math.round(100 * done)} %`} · ${document.querySelector("h1").textContent}`;
  element("progress").value = state.phase === "finished" ? 1 : done;
  say("epoch", `${state.epoch} / ${state.epochs}`);
  say("step", `step ${whole(state.step)} of ${whole(state.num_steps)}`);
  const measured = state.rows.filter((row) => row.val_accuracy !== null);
  if (measured.length) {
    const best = Math.max(...measured.map((row) => row.val_accuracy));
    say("accuracy", percent(measured.at(-1).val_accuracy));
    say("best", `highest ${percent(best)}`);
  }
  if (state.loss !== null) say("loss", state.loss.toFixed(3));
  if (state.images_per_second !== null) say("speed", whole(state.images_per_second));
  if (state.rate !== null) say("rate", `rate ${short(state.rate)}`);
  say("left", over || state.phase === "measuring" ? "–" : state.seconds_left === null ? "–" : clock(state.seconds_left));
  say("seconds", `${clock(state.seconds)} so far`);
  element("controls").hidden = over;
  element("stop").disabled = state.stopping || over;
  if (state.stopping || over) element("confirm").close();
  say("stop", state.stopping ? "Stopping…" : "Stop the training");
  showNotes();
  if (state.curve.step.length || state.rows.length) showCharts();
  if (over) showEnd();
}

function showNotes() {
  const all = [...state.warnings.map((text) => ["wrong", text]), ...state.notes.map((text) => ["", text])];
  if (state.about && !OVER.includes(state.phase)) all.unshift(["right", state.about]);
  element("said").hidden = !all.length;
  if (element("notes").children.length === all.length && all.every(([, text], i) => element("notes").children[i].textContent === text)) return;
  element("notes").replaceChildren(...all.map(([kind, text]) => {
    const item = document.createElement("li");
    item.className = kind;
    item.textContent = text;
    return item;
  }));
}

function showEnd() {
  const { result } = state;
  const command = state.phase === "finished" ? `classicnets predict ${quoted(state.run)} IMAGE` : `classicnets train --resume ${quoted(state.run)}`;
  const measured = result.top1 === undefined ? "" :
    `top-1 ${percent(result.top1)} on ${whole(result.num_images)} images of ${result.data} (95 % interval ${percent(result.top1_interval[0])} to ${percent(result.top1_interval[1])}). Report: ${result.page}`;
  const text = {
    finished: measured,
    stopped: "The training was stopped. What it learned so far is kept. Resume it with:",
    failed: `${state.about} What was saved before is kept. Resume with:`,
  };
  element("end").classList.toggle("bad", state.phase === "failed");
  say("end-title", PHASES[state.phase]);
  say("end-text", text[state.phase]);
  say("end-command", command);
  element("end-command").hidden = false;
  element("end").hidden = false;
}

const quoted = (path) => /^[\w@%+=:,./-]+$/.test(path) ? path : `'${path.replaceAll("'", "'\"'\"'")}'`;

element("stop").addEventListener("click", () => element("confirm").showModal());
element("go-on").addEventListener("click", () => element("confirm").close());
element("really").addEventListener("click", async () => {
  element("confirm").close();
  element("stop").disabled = true;
  try {
    await ask("stop", {});
  } catch (error) {
    element("stop").disabled = false;
    say("problem", `The training was not stopped: ${error.message}`);
  }
});

async function watch() {
  let missed = 0;
  let place = "now";
  while (!state || !OVER.includes(state.phase)) {
    try {
      state = await ask(place);
      place = "next";
      missed = 0;
      say("problem", "");
    } catch {
      missed += 1;
      if (missed >= 3) break;
      await new Promise((resolve) => setTimeout(resolve, 1000));
      continue;
    }
    show();
  }
  if (missed < 3) return;
  say("phase", "No answer");
  element("stop").disabled = true;
  say("problem", "The program that trains does not answer any more: it has ended, or its machine is off. Its last checkpoint is kept. " +
    `Resume with: classicnets train --resume ${state ? quoted(state.run) : "RUN"}`);
}

watch();
