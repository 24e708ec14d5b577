// The sagas of a mounted program: their active instances, and what is done about those that are stuck.

import { get, send } from "../api.js";
import { button, field, form } from "../actions.js";
import { json, make, number, table, time } from "../dom.js";
import * as links from "../links.js";
import { none } from "./rows.js";

const LIMIT = 50;

const path = (name) => `/sagas/${encodeURIComponent(name)}`;

export async function show(into, { parameter, query, signal, redraw }) {
  if (parameter !== undefined) return showOne(into, parameter, { query, signal, redraw });
  const { sagas } = await get("/sagas", {}, signal);
  const rows = sagas.map((saga) => [
    { class: "name", content: make("a", { href: links.to(path(saga.name)) }, saga.name) }, { class: "number", content: number(saga.active) },
    { class: "number", content: saga.stuck === 0 ? "0" : make("a", { href: links.to(path(saga.name), { stuck: true }) }, number(saga.stuck)) },
  ]);
  into.append(
    make("h1", {}, "Sagas"),
    make("div", { class: "tools" }, make("button", { on: { click: redraw } }, "Refresh")),
    rows.length === 0 ? none("The program has no saga.") : table(["saga", { text: "active", class: "number" }, { text: "stuck", class: "number" }], rows));
}

async function showOne(into, name, { query, signal, redraw }) {
  const stuck = query.get("stuck") === "true" ? true : undefined;
  const page = await get(`${path(name)}/instances`, { stuck, limit: LIMIT, cursor: query.get("cursor") }, signal);
  into.append(
    make("h1", {}, `Saga ${name}`),
    make("div", { class: "tools" }, make("button", { on: { click: redraw } }, "Refresh"),
      make("a", { href: links.to(path(name)) }, "active instances"), make("a", { href: links.to(path(name), { stuck: true }) }, "stuck ones"),
      make("span", { class: "dim" }, `${number(page.total)} in all`)),
    page.instances.length === 0 ? none("There is no such instance.") : make("div", {}, page.instances.map((one) => shown(name, one, redraw))),
    page.next === null ? "" : make("p", {}, make("a", { href: links.to(path(name), { stuck, cursor: page.next }) }, "next page")));
}

function shown(name, one, redraw) {
  const at = `${path(name)}/instances/${encodeURIComponent(one.key)}`;
  const timers = Object.entries(one.timers).map(([timer, due]) => make("div", {}, make("bdi", {}, timer), " at ", time(due)));
  const fields = [
    ["phase", one.reason === null ? one.phase : [`${one.phase}: `, make("bdi", {}, one.reason)]], ["stuck", one.stuck && make("span", { class: "state bad" }, one.stuck)],
    ["commands left", number(one.stepsLeft)], ["timers", timers.length > 0 && timers], ["started", time(one.startedAt)], ["changed", time(one.changedAt)], ["run", number(one.run)],
  ];
  return make("section", {},
    make("h2", {}, make("bdi", {}, one.key)),
    make("dl", {}, fields.filter(([, value]) => value).flatMap(([key, value]) => [make("dt", {}, key), make("dd", {}, value)])),
    make("div", { class: "tools" }, one.stuck === null ? null : button("Retry", () => send("POST", `${at}/retry`), redraw),
      form([field("reason", "reason", { required: true })], "Abandon", ({ reason }) => send("POST", `${at}/abandon`, {}, { reason }), redraw)),
    make("details", {}, make("summary", {}, "state"), json(one.state)));
}
