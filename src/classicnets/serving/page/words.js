// Numbers and doubt in words.

// 0.9314 is "93.1 %"; it never rounds up to 100 % or down to 0 %.
export function percent(share, digits = 1) {
  const smallest = 10 ** -digits;
  const text = (100 * share).toFixed(digits);
  if (Number(text) === 100) return share === 1 ? "100 %" : `over ${(100 - smallest).toFixed(digits)} %`;
  if (Number(text) === 0) return share === 0 ? "0 %" : `under ${smallest.toFixed(digits)} %`;
  return `${text} %`;
}

// ["a", "b", "c"] is "a, b or c".
export function listed(names, last = "or") {
  return names.length < 2 ? names.join("") : `${names.slice(0, -1).join(", ")} ${last} ${names.at(-1)}`;
}

export function counted(number, one, many = `${one}s`) {
  return `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
}

export const UNLIKE = "unlike the training images";

// What an answer is worth, as sentences of a kind: "warning", "set" or "score".
export function doubt(answer, { calibrated, classes }) {
  if (answer.unlike_training) {
    return [{ kind: "warning", text: "This image is unlike the training images, so its classes mean little." }];
  }
  const said = [{ kind: "score", text: ofScore(answer.predictions, calibrated) }];
  if (answer.set) said.unshift({ kind: "set", text: ofSet(answer.set, answer.coverage, classes.length) });
  return said;
}

function ofSet(names, coverage, all) {
  const share = percent(coverage, coverage * 100 % 1 ? 1 : 0);
  if (names.length === all && all > 1) return `At ${share} coverage, no class can be ruled out.`;
  if (names.length === 1) return `At ${share} coverage, only ${names[0]} remains.`;
  if (names.length > 8) {
    return `At ${share} coverage, ${names.length} classes remain: ${names.slice(0, 6).join(", ")} and others.`;
  }
  return `At ${share} coverage, it is ${listed(names)}.`;
}

function ofScore([best, second], calibrated) {
  const close = second && best.score - second.score < 0.15 ? ` Close behind: ${second.label}.` : "";
  if (!calibrated) return `The score is not calibrated, so it is not the probability of being right.${close}`;
  const right = Math.round(100 * best.score);
  if (right >= 100) return "Of 100 answers with such a score, nearly all are right.";
  return `Of 100 answers with such a score, about ${right} are right.${close}`;
}

// What several models say together, or "" for one.
export function together(answers) {
  if (answers.length < 2) return "";
  const votes = new Map();
  for (const { predictions: [best] } of answers) votes.set(best.label, (votes.get(best.label) ?? 0) + 1);
  const sorted = [...votes].sort((a, b) => b[1] - a[1]);
  if (sorted.length === 1) return `${answers.length === 2 ? "Both" : `All ${answers.length}`} models say ${sorted[0][0]}.`;
  return `The models disagree: ${sorted.map(([label, votes]) => `${votes} ${votes === 1 ? "says" : "say"} ${label}`).join(", ")}.`;
}

// A heading for a page about these classes.
export function question(classes) {
  const few = classes.length <= 4 && classes.join("").length <= 40;
  return few && classes.length > 1 ? `${capital(listed(classes))}?` : "What is in this image?";
}

const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);
