// Aggregates, with their number of events and their last event.

import { get } from "../api.js";
import { make, number, table, time } from "../dom.js";
import * as links from "../links.js";
import { none } from "./rows.js";

const ORDERS = [["last", "latest activity"], ["events", "most events"], ["name", "by name"]];

export async function show(into, { query, signal, go }) {
  const order = query.get("order") ?? "last";
  const prefix = query.get("prefix") ?? "";
  const page = await get("/lists/aggregate", { order, prefix, limit: 100, cursor: query.get("cursor") }, signal);
  const input = make("input", { "aria-label": "Ids that begin with", placeholder: "ids that begin with", value: prefix });
  const submit = (submitted) => { submitted.preventDefault(); go(links.to("/streams", { order, prefix: input.value })); };
  const options = ORDERS.map(([value, name]) => make("option", { value, selected: value === order }, name));
  const rows = page.items.map((item) => [
    { class: "name", content: links.stream(item.name) }, item.aggregateType ?? "", { class: "number", content: number(item.events) },
    { class: "number", content: links.event(item.lastPosition, number(item.lastPosition)) }, time(item.lastAt),
  ]);
  into.append(
    make("h1", {}, "Streams"),
    make("form", { class: "tools", on: { submit } }, input, make("button", {}, "Find"),
      make("select", { "aria-label": "Order", on: { change: (changed) => go(links.to("/streams", { prefix, order: changed.target.value })) } }, options)),
    rows.length === 0 ? none("There is no aggregate.") : table(["aggregate", "type", { text: "events", class: "number" }, { text: "last position", class: "number" }, "last event"], rows),
    page.next === null ? "" : make("p", {}, make("a", { href: links.to("/streams", { order, prefix, cursor: page.next }) }, "next page")));
}
