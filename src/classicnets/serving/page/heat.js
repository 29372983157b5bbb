// A heat map over the photo: which model, which class, how opaque, and whether to believe it.

import { Problem, askJson, checkSize, explainPath } from "./api.js";
import { byId, fill, make, show } from "./dom.js";
import { percent } from "./words.js";

const INFERNO = [
  [0, 0, 4], [22, 11, 57], [66, 10, 104], [106, 23, 110], [147, 38, 103], [188, 55, 84], [221, 81, 58], [243, 120, 25],
  [252, 165, 10], [246, 215, 70], [252, 255, 164],
];
export class Heat {
  constructor() {
    this.models = [];
    this.file = null;
    this.asking = new AbortController();
    byId("heat-on").addEventListener("click", () => this.turn(!this.on));
    for (const id of ["heat-model", "heat-class"]) byId(id).addEventListener("change", () => this.changed(id));
    byId("heat-opacity").addEventListener("input", () => this.fade());
    byId("heat-test").addEventListener("click", () => this.draw({ verdict: true }));
  }

  get on() {
    return byId("heat-on").getAttribute("aria-pressed") === "true";
  }

  get model() {
    return this.models.find(({ name }) => name === byId("heat-model").value);
  }

  setModels(models) {
    this.models = models.toSorted((one, other) => other.can_explain - one.can_explain);
    fill(byId("heat-model"), this.models.map(({ name }) => [name, name]));
    show(byId("heat-model-label"), this.models.length > 1);
    this.listClasses();
    if (!models.length) this.turn(false);
    else if (this.on) this.draw();
  }

  setFile(file) {
    this.file = file;
    this.wipe();
    if (file && this.on) this.draw();
  }

  listClasses() {
    fill(byId("heat-class"), [["", "its answer"], ...(this.model?.classes ?? []).map((name) => [name, name])]);
    show(byId("heat-test"), this.model?.can_explain ?? false);
  }

  changed(id) {
    if (id === "heat-model") this.listClasses();
    this.draw();
  }

  turn(on) {
    byId("heat-on").setAttribute("aria-pressed", String(on));
    show(byId("heat-controls"), on);
    if (on) this.draw();
    else this.wipe();
  }

  wipe() {
    this.asking.abort();
    show(byId("map"), false);
    byId("frame").classList.remove("mapped");
    byId("heat-said").textContent = "";
  }

  fade() {
    byId("map").style.opacity = byId("heat-opacity").value / 100;
  }

  async draw({ verdict = false } = {}) {
    this.asking.abort();
    const { file, model } = this;
    if (!file || !model) return;
    const { signal } = this.asking = new AbortController();
    const said = byId("heat-said");
    said.textContent = verdict ? "Testing the map, which takes a while…" : "Drawing the map…";
    try {
      checkSize(file);
      const path = explainPath(model, { label: byId("heat-class").value, verdict });
      const found = await askJson(path, { body: file, accept: "application/json", signal });
      if (signal.aborted) return;
      paint(byId("map"), found);
      byId("map").setAttribute("role", "img");
      byId("map").setAttribute("aria-label", `Heat map for ${found.class}`);
      show(byId("map"));
      byId("frame").classList.add("mapped");
      this.fade();
      said.textContent = inWords(found, model, verdict);
    } catch (error) {
      if (signal.aborted) return;
      this.wipe();
      said.textContent = error instanceof Problem ? error.message : `The map cannot be drawn: ${error.message}`;
    }
  }
}

function inWords(found, model, verdict) {
  const what = `${found.class}, ${percent(found.score)}.`;
  if (verdict || found.empty) return `${what} ${found.finding}`;
  if (model.can_explain) return `${what} Bright places speak for this class.`;
  return `${what} Patches were covered in turn; where it is bright, the score fell most.`;
}

// The map is stretched over the part of the picture that the network saw; the rest is dimmed.
function paint(canvas, { heat, window: seen, picture_size: [height, width] }) {
  const rows = heat.length;
  const columns = heat[0].length;
  const small = make("canvas", { width: columns, height: rows });
  const pixels = new ImageData(columns, rows);
  heat.flat().forEach((value, i) => pixels.data.set([...colour(value), 255 * value], 4 * i));
  small.getContext("2d").putImageData(pixels, 0, 0);
  Object.assign(canvas, { width, height }); // which also wipes it
  const context = canvas.getContext("2d");
  context.fillStyle = "rgb(0 0 0 / .6)";
  context.beginPath();
  context.rect(0, 0, width, height);
  context.rect(seen.left, seen.top, seen.width, seen.height);
  context.fill("evenodd");
  context.imageSmoothingQuality = "high";
  context.drawImage(small, seen.left, seen.top, seen.width, seen.height);
}

function colour(value) {
  const place = value * (INFERNO.length - 1);
  const below = Math.min(Math.floor(place), INFERNO.length - 2);
  return INFERNO[below].map((from, i) => from + (place - below) * (INFERNO[below + 1][i] - from));
}
