// How the value of a unit comes about: tables of numbers under a window, and what follows, line by line.

import { byId, make } from "./dom.js";

const FEW = 5; // cells along a side that have room for numbers

// 0.0123, -4.50, 1230: so many significant digits, and a real minus sign.
export function number(value, digits = 3) {
  if (value === null) return "not a number";
  if (value === 0) return "0";
  const size = Math.abs(value);
  const text = size >= 1000 && size < 100_000 ? value.toFixed(0) : size >= 0.001 && size < 1000 ? value.toPrecision(digits) :
    value.toExponential(1);
  return text.replace("-", "−");
}

const short = (value) => Math.abs(value) >= 100 ? number(Math.round(value)) : Math.abs(value) < 0.005 ? "0" :
  value.toFixed(2).replace("-", "−");

// Blue below 0, orange above it, pale at 0.
function colour(value, largest) {
  const share = largest ? Math.min(1, Math.abs(value) / largest) : 0;
  const [red, green, blue] = value < 0 ? [86, 160, 220] : [240, 150, 70];
  const mixed = [red, green, blue].map((part, i) => Math.round([240, 242, 244][i] * (1 - share) + part * share));
  return `rgb(${mixed.join(" ")})`;
}

// A table of numbers; null is padding, which stands for `pad`.
function table(name, rows, pad) {
  const largest = Math.max(...rows.flat().map((value) => Math.abs(value ?? 0)));
  const fine = Math.max(rows.length, rows[0].length) > FEW;
  const cells = rows.map((row, y) => make("tr", {}, ...row.map((value, x) => {
    const cell = value === null ? make("td", { class: "pad" }, pad) :
      make("td", { style: { backgroundColor: colour(value, largest) } }, short(value));
    cell.dataset.at = `${y},${x}`;
    return cell;
  })));
  return make("table", { class: fine ? "numbers fine" : "numbers" }, make("caption", {}, name), make("tbody", {}, ...cells));
}

function range(places) {
  return places.length === 1 ? String(places[0]) : `${places[0]} to ${places.at(-1)}`;
}

export function inputName(source, channel, isFirst) {
  if (isFirst && source.channels === 3) return `${["Red", "Green", "Blue"][channel]}`;
  if (isFirst && source.channels === 1) return "Grey";
  return `Channel ${channel}`;
}

// ---- the windows

function products({ patch, kernel }) {
  return patch.map((row, y) => row.map((value, x) => value === null ? 0 : value * kernel[y][x]));
}

const together = (...parts) => make("span", { class: "together" }, ...parts);
const sign = (text, name) => make("span", { class: "sign", role: "img", "aria-label": name }, text);
const total = (value) => make("span", { class: "total" }, number(value));

function window(source, one, isFirst) {
  const name = inputName(source, one.channel, isFirst);
  const made = products(one);
  const node = make("div", { class: "window" }, make("span", { class: "name" }, name),
    table("patch", one.patch, "0"), together(sign("×", "times"), table("kernel", one.kernel, "")),
    together(sign("=", "is"), table("products", made, "")), together(sign("Σ", "their sum is"), total(one.sum)));
  follow(node, (y, x) => {
    const value = one.patch[y][x];
    const read = value === null ? "0 (padding)" : number(value);
    return `${name}, row ${source.rows[y]}, column ${source.columns[x]}: ${read} × ${number(one.kernel[y][x])} = ${number(made[y][x])}`;
  });
  return node;
}

function pool(source) {
  const node = make("div", { class: "window" }, make("span", { class: "name" }, `Channel ${source.channel}`),
    table("patch", source.patch, source.kind === "max pool" ? "" : "0"), together(sign("→", "gives"), total(source.total)));
  if (source.kind === "max pool") {
    const best = source.patch.flat().indexOf(source.total);
    if (best >= 0) node.querySelectorAll("td")[best].classList.add("largest");
  }
  follow(node, (y, x) => {
    const value = source.patch[y][x];
    return `row ${source.rows[y]}, column ${source.columns[x]}: ${value === null ? "padding" : number(value)}`;
  });
  return node;
}

// Marks the cell under the pointer in all tables of a window, and says what it holds.
function follow(node, words) {
  node.addEventListener("pointerover", (event) => {
    const at = event.target.dataset?.at;
    for (const cell of document.querySelectorAll("td.at")) cell.classList.remove("at");
    if (at === undefined) return;
    for (const cell of node.querySelectorAll(`[data-at="${at}"]`)) cell.classList.add("at");
    byId("cell").textContent = words(...at.split(",").map(Number));
  });
}

// ---- the lines

const exact = (value) => number(value, 4); // so that sums of lines hold to the eye
const WORDS = {
  "batch norm": ({ factor, added }, before) => [`batch norm`, `${exact(before)} × ${exact(factor)} ${plus(added)}`],
  shortcut: ({ added }, before) => [`shortcut`, `${exact(before)} ${plus(added)} from the shortcut`],
  "local response norm": ({ factor }, before) => [`local response norm`, `${exact(before)} × ${exact(factor)}: less beside strong channels`],
  relu: (_, before) => [`ReLU`, before > 0 ? `${exact(before)} is above 0 and stays` : `${exact(before)} becomes 0`],
  tanh: (_, before) => [`tanh`, `the hyperbolic tangent of ${exact(before)}`],
};

const plus = (value) => value < 0 ? `− ${exact(-value)}` : `+ ${exact(value)}`;

function sums(unit, isFirst) {
  const { source } = unit;
  const lines = [];
  if (source.kind === "convolution") {
    for (const { channel, sum } of source.largest) lines.push([inputName(source, channel, isFirst), "the sum of its products", sum]);
    const others = source.channels - source.largest.length;
    if (others) lines.push([`${others} other channels`, "the sum of all their products", source.others]);
    lines.push(["bias", source.bias ? "" : "none", source.bias]);
    lines.push(["convolution", "all of it together", source.total, "result"]);
  } else {
    lines.push([source.kind, source.kind === "max pool" ? "the largest value of the patch" : "the mean of the patch", source.total, "result"]);
  }
  let before = source.total;
  for (const step of unit.steps) {
    lines.push([...WORDS[step.kind](step, before), step.value]);
    before = step.value;
  }
  lines.push(["value of the unit", "as the network computed it", unit.value, "last"]);
  return lines;
}

// ---- all of it

export function showValue(unit, isFirst) {
  const { source } = unit;
  const size = source.kind === "convolution" ? source.largest[0].kernel : source.patch;
  const kind = `${size.length} × ${size[0].length} ${source.kind}`;
  byId("value-title").textContent = `${number(unit.value)} is the value of channel ${unit.channel} at row ${unit.row}, column ${unit.column}`;
  const layer = source.kind === "convolution" ? ` ${source.layer.replace(/^trunk\./, "")}` : "";
  const elsewhere = source.stage === unit.stage ? "" : `${unit.stage} takes it from ${source.stage}. `;
  const more = source.channels > source.largest?.length ?
    ` Of its ${source.channels} input channels, these ${source.largest.length} add most.` : "";
  byId("value-lead").textContent = `${elsewhere}It comes from the ${kind}${layer}, which looks at rows ${range(source.rows)} and columns ` +
    `${range(source.columns)} of its input (${source.size[0]} × ${source.size[1]}).${more}${isFirst ? " Its input is the image, normalised." : ""}`;
  byId("value-windows").replaceChildren(...(source.kind === "convolution" ?
    source.largest.map((one) => window(source, one, isFirst)) : [pool(source)]));
  byId("cell").textContent = "\u00a0";
  byId("value-steps").replaceChildren(make("tbody", {}, ...sums(unit, isFirst).map(([name, how, value, kind]) =>
    make("tr", kind ? { class: kind } : {}, make("td", {}, name), make("td", {}, how), make("td", {}, exact(value))))));
}
