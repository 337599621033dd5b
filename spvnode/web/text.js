// What the dashboard writes with: elements, numbers, times.

/** An element with text or further elements in it. */
export function make(tag, properties = {}, ...inside) {
  const element = document.createElement(tag);
  const { data = {}, ...direct } = properties;
  Object.assign(element, direct);
  Object.assign(element.dataset, data);
  element.append(...inside.filter((one) => one !== null));
  return element;
}

/** Replaces what is in `place`, unless it would look the same: a screen reader or a selection is not disturbed. */
export function put(place, key, ...elements) {
  const seen = JSON.stringify(key);
  if (place.seen === seen) return;
  place.seen = seen;
  place.replaceChildren(...elements);
}

export const count = (number) => (number === null || number === undefined ? "–" : Number(number).toLocaleString("en"));
export const short = (hash) => (hash && hash.length > 24 ? `${hash.slice(0, 10)}…${hash.slice(-8)}` : hash || "–");

export function span(seconds) {
  if (seconds === null || seconds === undefined) return "never";
  const units = [["d", 86400], ["h", 3600], ["min", 60]];
  const [name, size] = units.find(([, one]) => seconds >= 2 * one) ?? ["s", 1];
  return `${count(Math.max(0, Math.floor(seconds / size)))} ${name}`;
}

export const ago = (seconds) => (seconds === null || seconds === undefined ? "never" : `${span(seconds)} ago`);
export const since = (time) => (time ? ago(Date.now() / 1000 - time) : "–");

export function bytes(number) {
  if (number === undefined || number === null) return "–";
  const [name, size] = [["MB", 1e6], ["kB", 1e3]].find(([, one]) => number >= one) ?? ["B", 1];
  return `${(number / size).toLocaleString("en", { maximumFractionDigits: 1 })} ${name}`;
}

export const hexOf = (data) => Array.from(data, (one) => one.toString(16).padStart(2, "0")).join("");
