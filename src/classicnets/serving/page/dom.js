// Elements of a page, made without HTML in strings.

export const byId = (id) => document.getElementById(id);

// make("button", { class: "main", onclick: save, style: { width: "40%" } }, "Save", child)
export function make(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "style") Object.assign(node.style, value); // by CSSOM, which the policy allows
    else if (typeof value === "boolean") node.toggleAttribute(name, value);
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

export function show(node, visible = true) {
  node.hidden = !visible;
}

// Fills a <select>: options are [value, text]. What was chosen stays chosen if it is still there.
export function fill(select, options) {
  const before = select.value;
  select.replaceChildren(...options.map(([value, text]) => make("option", { value }, text)));
  if (options.some(([value]) => String(value) === before)) select.value = before;
}

// Replaces the address of an <img>, and frees the picture that it showed.
export function showBlob(image, blob) {
  if (image.src.startsWith("blob:")) URL.revokeObjectURL(image.src);
  if (blob) image.src = URL.createObjectURL(blob);
  else image.removeAttribute("src");
}

// Has the browser save a text as a file.
export function save(name, kind, text) {
  const url = URL.createObjectURL(new Blob([text], { type: kind }));
  make("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
