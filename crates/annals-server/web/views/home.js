// What there is: figures, namespaces, the newest events, and how to append the first.

import { get, server } from "../api.js";
import { bytes, make, number } from "../dom.js";
import * as links from "../links.js";
import { none, tableOf } from "./rows.js";

export async function show(into, { signal }) {
  const [about, store, statistics, newest] = await Promise.all([
    server(signal), get("/store", {}, signal), get("/statistics", { top: 0 }, signal), get("/events", { order: "-position", limit: 10 }, signal),
  ]);
  const card = (name, value, target) => make("div", { class: "card" }, make("b", {}, target ? make("a", { href: target }, value) : value), name);
  into.append(
    make("h1", {}, "Overview"),
    make("div", { class: "cards" },
      card("events", number(statistics.total), links.to("/events", { order: "-position" })),
      card("aggregates", number(store.stats.aggregates), links.to("/streams")),
      card("event types", number(statistics.distinct.types), links.to("/statistics")),
      card("users", number(statistics.distinct.users), links.to("/statistics")),
      card("memory", bytes(store.stats.memoryBytes), links.to("/storage")),
      card("last position", number(store.visible), links.to("/storage"))),
    make("h2", {}, "Newest events"),
    newest.events.length > 0 ? tableOf(newest.events) : firstSteps(),
    make("h2", {}, "Namespaces"),
    make("p", {}, about.namespaces.flatMap((name) => [
      make("a", { href: name === about.defaultNamespace ? "/ui/" : `/ui/?ns=${encodeURIComponent(name)}` }, name), " ",
    ])),
    make("p", { class: "dim" }, "Annals ", about.version, " · ", make("a", { href: "/openapi.json" }, "API"), " · ", make("a", { href: "/metrics" }, "metrics"),
      " · keys: / searches, g then h e s t o p a r d c goes to a page, j and k go through rows"));
}

function firstSteps() {
  const command = `curl -H 'Content-Type: application/json' -d '{"eventType":"OrderPlaced","eventData":{"amount":42}}' \\\n  '${location.origin}/v1/streams/order-1/events?aggregateType=Order'`;
  return make("div", {}, none("There is no event yet. Append one:"), make("pre", {}, command));
}
