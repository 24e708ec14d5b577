// One event: its fields, its payload, what caused it and what it caused.

import { download, get } from "../api.js";
import { json, make, number, time } from "../dom.js";
import * as links from "../links.js";
import { idsOf, none, tableOf } from "./rows.js";

export async function show(into, { parameter, signal }) {
  const event = await get(`/events/${encodeURIComponent(parameter)}`, {}, signal);
  const ids = idsOf(event);
  const [caused, store] = await Promise.all([get("/events", { causation: event.eventId, limit: 50 }, signal), get("/store", {}, signal)]);
  const fields = [
    ["event", links.events({ eventType: event.eventType }, event.eventType), event.eventVersion === 1 ? "" : ` schema version ${event.eventVersion}`],
    ["aggregate", links.stream(event.aggregateId), ` ${event.aggregateType}, version ${number(event.version)}`],
    ["happened", time(event.timestamp)], ["recorded", time(event.recordedAt)],
    ["correlation", ids.correlation && links.trace(ids.correlation)],
    ["causation", ids.causation && links.event(ids.causation)],
    ["user", ids.user && links.events({ user: ids.user }, ids.user)],
    ["organization", ids.organization && links.events({ organization: ids.organization }, ids.organization)],
    ["tags", event.tags?.flatMap((tag) => [links.events({ tag }, tag), " "])],
    ["id", event.eventId],
  ];
  into.append(
    make("h1", {}, `${event.eventType} at position ${number(event.position)}`),
    make("p", { class: "tools" },
      event.position > 1 ? links.event(event.position - 1, "← before") : null, event.position < store.visible ? links.event(event.position + 1, "after →") : null,
      download(`/events/${event.position}`, {}, `event-${event.position}.json`, "JSON")),
    make("dl", {}, fields.filter(([, value]) => value !== undefined && value !== "").flatMap(([name, ...values]) => [make("dt", {}, name), make("dd", {}, values.flat())])),
    make("h2", {}, "Data"), payload(event.eventData, event.eventDataHex, event.eventDataType),
    make("h2", {}, "Metadata"), payload(event.metadata, event.metadataHex, event.metadataType),
    make("h2", {}, "Caused by it"), caused.events.length > 0 ? tableOf(caused.events) : none("No event names it as its cause."));
}

function payload(value, hex, type) {
  if (hex !== undefined) return make("pre", {}, `${type ?? "bytes"}:\n${hex}`);
  return value === undefined ? none("none") : json(value);
}
