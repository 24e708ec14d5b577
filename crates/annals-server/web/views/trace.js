// A conversation: its events in a lane for each aggregate, and as a tree of causes, each at its place in time.

import { get } from "../api.js";
import { make, number, row, time } from "../dom.js";
import * as links from "../links.js";
import { lanes } from "./lanes.js";

export async function show(into, { parameter, signal }) {
  const trace = await get(`/traces/${encodeURIComponent(parameter)}`, { limit: 1000 }, signal);
  const byId = new Map(trace.events.map((event) => [event.eventId, event]));
  const nodes = trace.tree.map(({ eventId, depth }) => ({ event: byId.get(eventId), depth })).filter(({ event }) => event !== undefined);
  const times = nodes.map(({ event }) => Date.parse(event.timestamp));
  const [begin, end] = [times.reduce((a, b) => Math.min(a, b), Infinity), times.reduce((a, b) => Math.max(a, b), -Infinity)];
  const aggregates = new Set(trace.events.map((event) => event.aggregateId));
  const rows = nodes.map(({ event, depth }, index) => {
    const ends = Math.max(times[index], ...direct(nodes, index).map((child) => times[child]));
    const place = (at) => (end === begin ? 0 : (100 * (at - begin)) / (end - begin));
    const bar = make("i");
    bar.style.left = `${Math.min(99, place(times[index]))}%`;
    bar.style.width = `${Math.max(0.5, Math.min(100, place(ends)) - place(times[index]))}%`;
    return row([
      make("span", {}, make("span", { class: "tree" }, branch(nodes, index, depth)), links.event(event.position, event.eventType)),
      { class: "name", content: links.stream(event.aggregateId) }, time(event.timestamp), { class: "number", content: `+${duration(times[index] - begin)}` },
      make("div", { class: "lane", title: `until its last direct effect: ${duration(ends - times[index])}` }, bar),
    ]);
  });
  const heads = ["event", "aggregate", "time", "after", "in time"].map((text) => make("th", { scope: "col", class: text === "after" ? "number" : null }, text));
  into.append(
    make("h1", {}, parameter),
    make("p", { class: "dim" }, `${number(trace.total)} events of ${number(aggregates.size)} aggregates in ${duration(end - begin)}`, trace.truncated ? `; the first ${number(trace.events.length)} are shown` : ""),
    make("h2", {}, "By aggregate"),
    lanes(nodes, { begin, end, label: (event) => `${event.eventType}, ${event.aggregateId}, +${duration(Date.parse(event.timestamp) - begin)}` }),
    make("h2", {}, "By cause"),
    make("div", { class: "scroll" }, make("table", {}, make("thead", {}, make("tr", {}, heads)), make("tbody", {}, rows))));
}

/** The nodes that are one level below, before the next of this level. */
function direct(nodes, index) {
  const found = [];
  for (let at = index + 1; at < nodes.length && nodes[at].depth > nodes[index].depth; at += 1) if (nodes[at].depth === nodes[index].depth + 1) found.push(at);
  return found;
}

/** The lines before an event: one column a level, as far as a screen has room for. */
function branch(nodes, index, depth) {
  const shown = Math.min(depth, 24);
  const columns = Array.from({ length: shown }, (_, column) => {
    const level = depth - shown + column + 1;
    if (level === depth) return goesOn(nodes, index, level) ? "├ " : "└ ";
    return goesOn(nodes, index, level) ? "│ " : "  ";
  });
  return columns.join("");
}

/** Whether another event of this level follows before one of a higher level. */
function goesOn(nodes, index, level) {
  for (let at = index + 1; at < nodes.length && nodes[at].depth >= level; at += 1) if (nodes[at].depth === level) return true;
  return false;
}

export function duration(millis) {
  if (millis < 1000) return `${millis} ms`;
  if (millis < 60_000) return `${(millis / 1000).toFixed(1)} s`;
  if (millis < 3_600_000) return `${Math.floor(millis / 60_000)} min ${Math.floor((millis % 60_000) / 1000)} s`;
  if (millis < 86_400_000) return `${Math.floor(millis / 3_600_000)} h ${Math.floor((millis % 3_600_000) / 60_000)} min`;
  return `${Math.floor(millis / 86_400_000)} d ${Math.floor((millis % 86_400_000) / 3_600_000)} h`;
}
