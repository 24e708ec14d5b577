// One aggregate: its events up to a version that a slider chooses.

import { get } from "../api.js";
import { json, make, number } from "../dom.js";
import * as links from "../links.js";
import { stateOf } from "./state.js";
import { none, tableOf } from "./rows.js";

const PAGE = 200;

export async function show(into, { parameter, query, signal }) {
  const path = `/streams/${encodeURIComponent(parameter)}`;
  const info = await get(path, {}, signal);
  const last = info.version;
  const from = Math.max(1, Number(query.get("from") ?? Math.max(1, last - PAGE + 1)) || 1);
  const page = await get(`${path}/events`, { from, limit: PAGE }, signal);
  const shown = tableOf(page.events);
  const rows = [...shown.querySelectorAll("tbody tr")];
  const end = from + page.events.length - 1;
  const told = make("output", {}, `version ${number(end)}`);
  const state = await stateOf(path, end, signal);
  const move = (moved) => {
    const version = Number(moved.target.value);
    told.textContent = `version ${number(version)}`;
    page.events.forEach((event, index) => { rows[index].hidden = event.version > version; });
    state?.show(version);
  };
  const slider = make("input", { type: "range", min: from, max: Math.max(from, end), value: end, "aria-label": "Show the aggregate up to this version", on: { input: move } });
  into.append(
    make("h1", {}, parameter),
    make("p", { class: "dim" }, `${info.aggregateType}, version ${number(last)}`, info.tombstoned || info.deletedTo === last ? ", deleted" : ""),
    page.events.length === 0 ? none("It has no events to read.") : make("div", {}, make("p", { class: "tools" }, "As of", slider, told), shown),
    make("p", { class: "tools" },
      from > 1 ? make("a", { href: links.to(path, { from: Math.max(1, from - PAGE) }) }, "earlier versions") : null,
      end < last ? make("a", { href: links.to(path, { from: end + 1 }) }, "later versions") : null),
    state?.shown,
    make("p", {}, snapshotButton(path, signal)));
}

/** Shows the latest snapshot in its place. */
function snapshotButton(path, signal) {
  const button = make("button", {}, "Latest snapshot");
  button.addEventListener("click", async () => {
    const snapshot = await get(`${path}/snapshot`, {}, signal).catch((error) => ({ error }));
    const shown = snapshot.error ? none(snapshot.error.message) : make("div", {}, make("h2", {}, `Snapshot of version ${number(snapshot.version)}`),
      snapshot.data === undefined ? make("pre", {}, snapshot.dataHex ?? "") : json(snapshot.data));
    button.replaceWith(shown);
  });
  return button;
}
