// Images that come in: dropped anywhere, pasted, or chosen. Folders that are dropped are searched.

import { byId } from "./dom.js";

export function takeImages({ onFiles, onProblem }) {
  const input = byId("files");
  byId("choose").addEventListener("click", () => input.click());
  input.addEventListener("change", () => {
    const files = [...input.files];
    input.value = ""; // so that the same file can be chosen again
    if (files.length) onFiles(files);
  });
  document.addEventListener("paste", (event) => {
    if (event.target.closest?.("[type=password]")) return;
    const files = [...event.clipboardData.files];
    if (files.length) onFiles(files);
    else onProblem("The clipboard has no image. Copy an image, then paste it here.");
  });
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    byId("stage").classList.add("over");
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) byId("stage").classList.remove("over");
  });
  document.addEventListener("drop", async (event) => {
    event.preventDefault();
    byId("stage").classList.remove("over");
    const files = await dropped(event.dataTransfer);
    if (files.length) onFiles(files);
    else onProblem("No image file was dropped. Save the image first, then drop its file here.");
  });
}

// The items of a drop are gone after the event, so all of them are taken before the first wait.
async function dropped(transfer) {
  const found = [...transfer.items].filter((item) => item.kind === "file").map((item) => {
    const entry = item.webkitGetAsEntry?.();
    return entry?.isDirectory ? imagesIn(entry) : [item.getAsFile()];
  });
  return (await Promise.all(found)).flat().filter(Boolean);
}

async function imagesIn(folder) {
  const reader = folder.createReader();
  const found = [];
  for (;;) { // it gives a hundred entries at a time
    const entries = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!entries.length) return found;
    for (const entry of entries) {
      if (entry.isDirectory) found.push(...await imagesIn(entry));
      else found.push(...await imageOf(entry));
    }
  }
}

async function imageOf(entry) {
  const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
  return file.type.startsWith("image/") ? [file] : [];
}
