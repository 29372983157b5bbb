// Questions to the server: with the key, if one was typed in, and every error as one sentence.

const KEY = "classicnets-key"; // in sessionStorage: it ends with the tab
const TRIES = 5;

export class Problem extends Error {
  constructor(sentence, status = 0, wait = 0) {
    super(sentence);
    this.status = status; // of HTTP; 0 if the server did not answer
    this.wait = wait; // seconds after which the server may be asked again
  }
}

export const GONE = "The server does not answer. Start it again, or wait a moment, then try again.";

export function setKey(key) {
  if (!/^[\x21-\x7e]+$/.test(key)) throw new Problem("A key holds letters, digits and signs, without spaces.");
  sessionStorage.setItem(KEY, key);
}

export const hasKey = () => sessionStorage.getItem(KEY) !== null;

export async function ask(path, { method, body, accept, signal } = {}) {
  const headers = new Headers();
  if (hasKey()) headers.set("X-API-Key", sessionStorage.getItem(KEY));
  if (accept) headers.set("Accept", accept);
  let response;
  try {
    response = await fetch(path, { method: method ?? (body === undefined ? "GET" : "POST"), body, headers, signal });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Problem(GONE);
  }
  if (response.ok) return response;
  const found = await response.json().catch(() => ({}));
  throw new Problem(
    found.error ?? `The server answered with ${response.status}.`,
    response.status,
    Number(response.headers.get("Retry-After")),
  );
}

export async function askJson(path, options) {
  return (await ask(path, options)).json();
}

// Asks again while the server is busy; `say` is called with a sentence before each wait.
export async function askPatiently(path, options, say = () => {}) {
  for (let tries = 1; ; tries += 1) {
    try {
      return await askJson(path, options);
    } catch (error) {
      if (!(error instanceof Problem) || error.status !== 503 || tries === TRIES) throw error;
      const seconds = error.wait || 1;
      say(`The server is busy. Asking again in ${seconds} s.`);
      await pause(seconds * 1000, options.signal);
    }
  }
}

function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal?.addEventListener("abort", () => { clearTimeout(timer); reject(signal.reason); }, { once: true });
  });
}

export const predictPath = (model, { topK = 5, coverage = "" } = {}) =>
  `/v1/predict?${new URLSearchParams({ model, top_k: topK, ...(coverage && { coverage }) })}`;

// A bundle has no gradients: patches of the image are covered instead.
export function explainPath({ name, can_explain }, { label, verdict }) {
  const options = { ...(label && { class: label }), ...(verdict && { verdict: "true" }) };
  return can_explain
    ? `/v1/explain?${new URLSearchParams({ model: name, ...options })}`
    : `/page/occlusion/${name}?${new URLSearchParams(options)}`;
}

// The answer of one model about one image. The file goes to the server as it is.
export async function predict(model, file, options, signal, say) {
  checkSize(file);
  try {
    const { answers } = await askPatiently(predictPath(model, options), { body: file, signal }, say);
    return { ...answers[0], path: file.name };
  } catch (error) {
    if (error instanceof Problem) error.message = error.message.replace(/^image 0:/, `${file.name}:`);
    throw error;
  }
}

let largest = Infinity;

export function setLargest(bytes) {
  largest = bytes;
}

// A server may end the connection of a body that is too large before a browser reads why.
export function checkSize(file) {
  const mib = (bytes) => `${(bytes / 2 ** 20).toFixed(1)} MiB`;
  if (file.size > largest) {
    throw new Problem(`${file.name} has ${mib(file.size)}, and this server takes ${mib(largest)} at most.`, 413);
  }
  if (file.size === 0) throw new Problem(`${file.name} is empty.`, 400);
}
