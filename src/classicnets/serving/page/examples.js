// Example images of a model, as buttons.

import { ask, askJson } from "./api.js";
import { byId, make, show, showBlob } from "./dom.js";

let shown = ""; // the model whose examples they are

export async function listExamples(model, onFile) {
  if (!model || model.name === shown) return;
  shown = model.name;
  const path = `/page/examples/${model.name}`;
  const { examples } = await askJson(path).catch(() => ({ examples: [] }));
  const files = await Promise.all(examples.map(({ name }, i) => fetched(`${path}/${i}`, name)));
  if (model.name !== shown) return; // another model was chosen meanwhile
  const list = byId("example-list");
  for (const image of list.querySelectorAll("img")) showBlob(image, null);
  list.replaceChildren(...files.flatMap((file, i) => file ? [button(file, examples[i].truth, i, onFile)] : []));
  show(byId("examples"), list.childElementCount > 0);
}

async function fetched(path, name) {
  try {
    const blob = await (await ask(path)).blob();
    return new File([blob], name, { type: blob.type });
  } catch {
    return null;
  }
}

function button(file, truth, i, onFile) {
  const picture = make("img", { alt: "" });
  showBlob(picture, file);
  const label = truth ? `Example ${i + 1}: ${truth}` : `Example ${i + 1}`;
  return make("button", { class: "example", "aria-label": label, onclick: () => onFile(file) },
    picture, ...(truth ? [make("span", {}, truth)] : []));
}
