// Groups of consumers: what they have yet to handle, and what they could not.

import { get, send } from "../api.js";
import { button } from "../actions.js";
import { json, make, number, table } from "../dom.js";
import * as links from "../links.js";
import { lettersOf } from "./letters.js";
import { none } from "./rows.js";

const HEADINGS = [
  "group", "state", { text: "positions behind", class: "number" }, { text: "position", class: "number" }, { text: "in flight", class: "number" },
  { text: "waiting", class: "number" }, { text: "dead letters", class: "number" }, "",
];

const path = (name) => `/groups/${encodeURIComponent(name)}`;

/** A group that no client has used since the server started has no status. */
function state({ status }) {
  if (status === null) return make("span", { class: "state" }, "not used yet");
  return status.stopReason === null ? make("span", { class: "state" }, "open") : make("span", { class: "state bad" }, "stopped");
}

export async function show(into, { parameter, query, signal, redraw }) {
  if (parameter !== undefined) return showOne(into, parameter, { signal, redraw, cursor: query.get("cursor") });
  const { groups } = await get("/groups", {}, signal);
  into.append(
    make("h1", {}, "Groups of consumers"),
    make("div", { class: "tools" }, make("button", { on: { click: redraw } }, "Refresh")),
    groups.length === 0 ? none("There is no group. A consumer defines one by PUT /v1/groups/NAME.") : table(HEADINGS, groups.map((group) => rowOf(group, redraw))));
}

function rowOf(group, redraw) {
  const figure = (key) => ({ class: "number", content: group.status === null ? "" : number(group.status[key]) });
  return [
    { class: "name", content: make("a", { href: links.to(path(group.name)) }, group.name) }, state(group),
    figure("lagEvents"), figure("position"), figure("inFlight"), figure("waiting"), figure("deadLetters"), controls(group, redraw),
  ];
}

function controls({ name, status }, redraw) {
  const has = status !== null && status.stopReason !== null;
  return make("div", { class: "actions" }, has ? button("Resume", () => send("POST", `${path(name)}/resume`), redraw) : null);
}

async function showOne(into, name, { signal, redraw, cursor }) {
  // Reading its letters opens the group, so that it has a status.
  const letters = await lettersOf("groups", name, { signal, redraw, cursor });
  const group = await get(path(name), {}, signal);
  const { status } = group;
  const fields = [
    ["state", state(group)], ["stopped because", status?.stopReason], ["position", status && number(status.position)],
    ["behind", status && `${number(status.lagEvents)} positions, with those of other events`],
    ["in flight", status && `${number(status.inFlight)} events; aggregates: ${number(status.ready)} ready, ${number(status.waiting)} waiting`],
  ];
  into.append(
    make("h1", {}, `Group ${group.name}`),
    make("div", { class: "tools" }, make("button", { on: { click: redraw } }, "Refresh"), controls(group, redraw)),
    make("dl", {}, fields.filter(([, value]) => value !== null && value !== undefined).flatMap(([key, value]) => [make("dt", {}, key), make("dd", {}, value)])),
    make("h2", {}, "Dead letters"), letters,
    make("h2", {}, "Definition"), json(group.definition));
}
