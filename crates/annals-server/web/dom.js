// Elements made of texts and elements alone: nothing that a store holds is ever parsed as HTML.

const SVG = "http://www.w3.org/2000/svg";
const SVG_NAMES = new Set(["svg", "g", "rect", "line", "text", "title", "path"]);

/** An element; `attributes.on` are its event handlers. Children are elements, texts and numbers; null and false are left out. */
export function make(name, attributes = {}, ...children) {
  const made = SVG_NAMES.has(name) ? document.createElementNS(SVG, name) : document.createElement(name);
  fill(made, attributes, children);
  return made;
}

/** A link within SVG. */
export function svgLink(href, ...children) {
  const made = document.createElementNS(SVG, "a");
  fill(made, { href }, children);
  return made;
}

function fill(made, { on = {}, ...attributes }, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) made.setAttribute(key, value === true ? "" : value);
  }
  for (const [event, handler] of Object.entries(on)) made.addEventListener(event, handler);
  made.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
}

/** A table with these headings, whose rows are arrays of cells: a text, or { class, content }. */
export function table(headings, rows) {
  const heads = headings.map((heading) => make("th", { scope: "col", class: heading.class }, heading.text ?? heading));
  const body = make("tbody", {}, rows.map((cells) => row(cells)));
  return make("div", { class: "scroll" }, make("table", {}, make("thead", {}, make("tr", {}, heads)), body));
}

export function row(cells, attributes = {}) {
  const columns = cells.map((cell) =>
    cell instanceof Node || typeof cell !== "object" || cell === null
      ? make("td", {}, cell ?? "")
      : make("td", { class: cell.class, title: cell.title, colspan: cell.span }, cell.content ?? ""));
  return make("tr", attributes, columns);
}

export const number = (value) => Number(value).toLocaleString("en");

export function bytes(value) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  for (; value >= 1024 && unit < units.length - 1; unit += 1) value /= 1024;
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`;
}

/** A duration with the unit that suits it. */
export function seconds(value) {
  if (value < 120) return `${value < 10 ? Number(value.toFixed(1)) : Math.round(value)} s`;
  return value < 7_200 ? `${Math.round(value / 60)} min` : `${Math.round(value / 3_600)} h`;
}

/** A time as `2026-01-31 12:00:00.123`, in UTC, as the store has it. */
export const time = (text) => make("time", { datetime: text }, String(text).replace("T", " ").replace("Z", ""));

/** JSON over several lines, coloured. */
export function json(value) {
  return make("pre", { tabindex: 0 }, written(value, ""));
}

function written(value, indent) {
  if (typeof value === "string") return [make("span", { class: "text" }, JSON.stringify(value))];
  if (value === null || typeof value !== "object") return [make("span", { class: "figure" }, String(value))];
  const isList = Array.isArray(value);
  const members = isList ? value.map((item) => [null, item]) : Object.entries(value);
  if (members.length === 0) return [isList ? "[]" : "{}"];
  const deeper = `${indent}  `;
  const lines = members.flatMap(([key, item], index) => [
    `\n${deeper}`,
    ...(key === null ? [] : [make("span", { class: "key" }, JSON.stringify(key)), ": "]),
    ...written(item, deeper),
    index < members.length - 1 ? "," : "",
  ]);
  return [isList ? "[" : "{", ...lines, `\n${indent}${isList ? "]" : "}"}`];
}
