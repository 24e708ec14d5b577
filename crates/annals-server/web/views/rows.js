// Events as rows of a table.

import { make, number, row, table, time } from "../dom.js";
import * as links from "../links.js";

const PREVIEW_LENGTH = 160;

const HEADINGS = [{ text: "position", class: "number" }, "time", "event", "aggregate", { text: "version", class: "number" }, "user", "correlation", "data"];

export function preview(event) {
  const text = event.eventDataHex ?? JSON.stringify(event.eventData) ?? "";
  return text.length > PREVIEW_LENGTH ? `${text.slice(0, PREVIEW_LENGTH)}…` : text;
}

/** Metadata hold the ids, unless they are no object: then the ids stand beside them. */
export const idsOf = (event) => ({
  correlation: event.correlationId ?? event.metadata?.correlationId,
  causation: event.causationId ?? event.metadata?.causationId,
  user: event.userId ?? event.metadata?.userId,
  organization: event.organizationId ?? event.metadata?.organizationId,
});

export function rowOf(event, attributes = {}) {
  const ids = idsOf(event);
  return row([
    { class: "number", content: links.event(event.position, number(event.position)) },
    time(event.timestamp),
    { class: "type", content: links.events({ eventType: event.eventType }, event.eventType) },
    { class: "name", content: links.stream(event.aggregateId), title: `${event.aggregateType} ${event.aggregateId}` },
    { class: "number", content: number(event.version) },
    { class: "name", content: ids.user === undefined ? "" : links.events({ user: ids.user }, ids.user) },
    { class: "name", content: ids.correlation === undefined ? "" : links.trace(ids.correlation) },
    { class: "data", content: preview(event) },
  ], attributes);
}

/** The table; its body takes rows of later events. */
export function tableOf(events) {
  const shown = table(HEADINGS, []);
  shown.querySelector("tbody").append(...events.map((event) => rowOf(event)));
  return shown;
}

export const gapRow = (text) => row([{ span: HEADINGS.length, content: text }], { class: "gap" });

export const none = (text) => make("p", { class: "dim" }, text);
