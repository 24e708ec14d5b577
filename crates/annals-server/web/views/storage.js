// What the store holds, and how far its journal is.

import { get } from "../api.js";
import { bytes, make, number, table } from "../dom.js";

export async function show(into, { signal, redraw }) {
  const store = await get("/store", {}, signal);
  const place = (name, position) => [name, { class: "number", content: position === null ? "no journal" : number(position) }];
  into.append(
    make("h1", {}, "Storage"),
    store.fault === null ? "" : make("p", { class: "problem", role: "alert" }, store.fault),
    make("div", { class: "tools" }, make("button", { on: { click: redraw } }, "Refresh")),
    make("h2", {}, "Positions"),
    narrow(["", { text: "position", class: "number" }], [place("visible to readers", store.visible), place("written", store.written), place("synced", store.synced)]),
    make("h2", {}, "Figures"), figures(store.stats));
}

const narrow = (...parts) => make("div", { class: "narrow" }, table(...parts));

/** Every figure with its name; those of a part are under the name of the part. */
function figures(stats) {
  const rows = flat(stats, "").map(([name, value]) => [name, { class: "number", content: /bytes/i.test(name) ? bytes(value) : typeof value === "number" ? number(value) : String(value) }]);
  return narrow(["figure", { text: "value", class: "number" }], rows);
}

function flat(value, name) {
  if (value === null || typeof value !== "object") return [[name, value ?? "none"]];
  return Object.entries(value).flatMap(([key, inner]) => flat(inner, name === "" ? words(key) : `${name} · ${words(key)}`));
}

const words = (key) => key.replace(/_/g, " ").replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);
