// A conversation as lanes: one for each aggregate, with its events in time, and lines from causes to effects.

import { make, svgLink } from "../dom.js";
import * as links from "../links.js";

/** Lanes that are drawn, at most. */
const LANES_MAX = 40;
const [WIDTH, LEFT, RIGHT, HEIGHT, SIZE] = [1000, 210, 14, 28, 9];
/** Letters of a name that a lane has room for. */
const LETTERS = 30;

/** `nodes` are the events in the order of the tree, with their depth. */
export function lanes(nodes, { begin, end, label }) {
  const names = [...new Set(nodes.toSorted((a, b) => a.event.position - b.event.position).map(({ event }) => event.aggregateId))];
  const shown = new Map(names.slice(0, LANES_MAX).map((name, index) => [name, index]));
  const drawn = make("svg", { viewBox: `0 0 ${WIDTH} ${shown.size * HEIGHT + 4}`, role: "group", "aria-label": "Events by aggregate and time" });
  for (const [name, index] of shown) drawn.append(...laneOf(name, index));
  const points = pointsOf(nodes.filter(({ event }) => shown.has(event.aggregateId)), shown, begin, end);
  drawn.append(...causes(nodes, points), ...nodes.filter(({ event }) => points.has(event)).map(({ event }) => mark(event, points.get(event), label(event))));
  const rest = names.length - shown.size;
  return make("div", { class: "scroll lanes" }, drawn, rest === 0 ? null : make("p", { class: "dim" }, `${rest} more aggregates are not drawn; the table has their events.`));
}

function laneOf(name, index) {
  const y = index * HEIGHT + HEIGHT / 2;
  const text = name.length > LETTERS ? `${name.slice(0, LETTERS - 1)}…` : name;
  return [
    make("line", { class: "rule", x1: LEFT, x2: WIDTH - RIGHT, y1: y, y2: y }),
    svgLink(links.to(`/streams/${encodeURIComponent(name)}`), make("text", { class: "lane-name", x: 8, y: y + 4 }, make("title", {}, name), text)),
  ];
}

/** The place of each event. One that would cover the event before it in its lane stands beside it, as long as there is room. */
function pointsOf(nodes, shown, begin, end) {
  const [points, taken, room] = [new Map(), new Map(), WIDTH - RIGHT - LEFT - SIZE];
  const ordered = nodes.map(({ event }) => event).sort((a, b) => Date.parse(a.timestamp) - Date.parse(b.timestamp) || a.position - b.position);
  for (const event of ordered) {
    const at = end === begin ? 0 : (room * (Date.parse(event.timestamp) - begin)) / (end - begin);
    const x = Math.min(LEFT + room, Math.max(LEFT + at, (taken.get(event.aggregateId) ?? -Infinity) + SIZE + 1));
    taken.set(event.aggregateId, x);
    points.set(event, { x, y: shown.get(event.aggregateId) * HEIGHT + HEIGHT / 2 });
  }
  return points;
}

/** Lines between lanes; within a lane the order shows it. */
function causes(nodes, points) {
  const above = [];
  return nodes.flatMap(({ event, depth }) => {
    above[depth] = event;
    const [from, to] = [points.get(above[depth - 1]), points.get(event)];
    if (from === undefined || to === undefined || from.y === to.y) return [];
    const [x, middle] = [from.x + SIZE / 2, (from.y + to.y) / 2];
    return [make("path", { class: "cause", d: `M ${x} ${from.y} C ${x} ${middle}, ${to.x + SIZE / 2} ${middle}, ${to.x + SIZE / 2} ${to.y}` })];
  });
}

function mark(event, { x, y }, label) {
  const box = make("rect", { class: "fill", x, y: y - SIZE / 2, width: SIZE, height: SIZE, rx: 3 }, make("title", {}, label));
  const link = svgLink(links.to(`/events/${encodeURIComponent(event.position)}`), box);
  link.setAttribute("aria-label", label);
  return link;
}
