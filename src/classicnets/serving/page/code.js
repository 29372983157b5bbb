// Programs that ask this server, ready to copy.

import { hasKey } from "./api.js";
import { make } from "./dom.js";

export function programs(origin, model) {
  const url = `${origin}/v1/predict?${new URLSearchParams({ model })}`;
  const key = hasKey();
  return [
    ["Command line", `curl --data-binary @cat.jpg${key ? ' -H "X-API-Key: $KEY"' : ""} "${url}"`],
    ["Python", [
      "import json",
      ...(key ? ["import os"] : []),
      "from urllib.request import Request, urlopen",
      "",
      'with open("cat.jpg", "rb") as file:',
      `    request = Request("${url}", file.read()${key ? ', {"X-API-Key": os.environ["KEY"]}' : ""})`,
      "with urlopen(request) as response:",
      '    answer = json.load(response)["answers"][0]',
      'print(answer["predictions"][0])',
    ].join("\n")],
    ["JavaScript (Node)", [
      'import { readFile } from "node:fs/promises";',
      "",
      `const response = await fetch("${url}", {`,
      '  method: "POST",',
      ...(key ? ['  headers: { "X-API-Key": process.env.KEY },'] : []),
      '  body: await readFile("cat.jpg"),',
      "});",
      "const { answers: [answer] } = await response.json();",
      "console.log(answer.predictions[0]);",
    ].join("\n")],
  ];
}

export function programsOf(origin, model, onCopy) {
  return programs(origin, model).map(([title, text]) => make("section", { class: "program" },
    make("div", { class: "row spread" }, make("h3", {}, title),
      make("button", { "aria-label": `Copy: ${title}`, onclick: (event) => copy(text, event.target, onCopy) }, "Copy")),
    make("pre", { tabindex: "0", "aria-label": title }, make("code", {}, text))));
}

async function copy(text, button, onCopy) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    onCopy("The browser does not let this page copy. Select the text, and copy it yourself.");
    return;
  }
  onCopy("", "Copied.");
  button.textContent = "Copied";
  setTimeout(() => { button.textContent = "Copy"; }, 2000);
}
