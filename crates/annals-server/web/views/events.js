// Events by filters, a page at a time, and live.

import { download, get, tail } from "../api.js";
import { make, number } from "../dom.js";
import * as links from "../links.js";
import * as hours from "./hours.js";
import { gapRow, none, rowOf, tableOf } from "./rows.js";

const FILTERS = [
  ["eventType", "event type"], ["aggregateTypeFilter", "aggregate type"], ["aggregate", "aggregate"], ["aggregatePrefix", "aggregate begins with"],
  ["correlation", "correlation"], ["user", "user"], ["organization", "organization"], ["tag", "tag"], ["day", "day"], ["text", "text"],
  ["since", "since"], ["before", "before"], ["after", "after position"], ["asOf", "as of"],
];
/** Filters that look back, and that a live view does not have. */
const OF_THE_PAST = new Set(["before", "asOf", "after"]);
const ORDERS = [["-position", "newest first"], ["position", "oldest first"], ["-time", "latest first"], ["time", "earliest first"]];
const PAGE = 100;
/** Rows of a live view; older ones leave it. */
const LIVE_ROWS = 300;
/** Events that are drawn at once, at most: more than that are counted, and left to the next look. */
const FRAME_ROWS = 50;

export async function show(into, { query, signal, go }) {
  const filters = FILTERS.flatMap(([key, name]) => query.getAll(key).map((value) => ({ key, name, value })));
  const order = query.get("order") ?? "-position";
  const asked = (without) => Object.fromEntries(FILTERS.map(([key]) => [key, filters.filter((filter) => filter.key === key && filter !== without).map(({ value }) => value)]));
  const hour = hours.hourOf(query);
  const cursor = query.get("cursor");
  // Every address of this view keeps the hour.
  const kept = hour === null ? {} : { hour: query.get("hour") };
  const page = hour === null ? await get("/events", { ...asked(), order, limit: PAGE, cursor }, signal) : await hours.page(asked(), hour, { order, cursor, limit: PAGE }, signal);
  const count = filters.length === 0 || hour !== null ? null : await get("/count", asked(), signal).catch(() => null);
  const shown = tableOf(page.events);
  const told = make("span", { class: "dim", role: "status" }, count === null ? "" : `${number(count.count)} events`);
  const live = liveButton({ parameters: asked(), isPossible: hour === null && order === "-position" && cursor === null && !filters.some(({ key }) => OF_THE_PAST.has(key)), body: shown.querySelector("tbody"), signal, told });
  into.append(
    make("h1", {}, "Events"),
    make("div", { class: "tools" },
      hour === null ? null : make("a", { class: "chip", href: links.to("/events", { ...asked(), order }), title: "Remove this filter" }, `hour of the week: ${hours.nameOf(hour)} UTC ×`),
      filters.map((filter) => make("a", { class: "chip", href: links.to("/events", { ...kept, ...asked(filter), order }), title: "Remove this filter" }, `${filter.name}: ${filter.value} ×`)),
      adder({ ...kept, ...asked() }, order, go)),
    make("div", { class: "tools" }, chooser(order, (chosen) => go(links.to("/events", { ...kept, ...asked(), order: chosen }))), jump(go), live, told, make("span", { class: "grow" }),
      hour === null ? download("/events", { ...asked(), order, limit: 1000 }, "events.json", "JSON") : null),
    make("div", { role: "status" }, page.isCut ? make("p", { class: "notice" }, "The log is longer than ten years: only the last ten are looked through.") : null),
    page.events.length > 0 || (filters.length === 0 && hour === null) ? shown : none("No event matches."),
    make("p", { class: "tools" },
      cursor === null ? null : links.events({ ...kept, ...asked(), order }, "first page"),
      page.next === null ? null : links.events({ ...kept, ...asked(), order, cursor: page.next }, "next page")));
}

/** Adds a filter. */
function adder(asked, order, go) {
  const key = make("select", { "aria-label": "Filter" }, FILTERS.map(([value, name]) => make("option", { value }, name)));
  const value = make("input", { "aria-label": "Value of the filter", placeholder: "value", size: 18 });
  const submit = (submitted) => {
    submitted.preventDefault();
    if (value.value !== "") go(links.to("/events", { ...asked, [key.value]: [...asked[key.value], value.value], order }));
  };
  return make("form", { class: "tools", on: { submit } }, key, value, make("button", {}, "Add filter"));
}

function chooser(order, choose) {
  const options = ORDERS.map(([value, name]) => make("option", { value, selected: value === order }, name));
  return make("select", { "aria-label": "Order", on: { change: (changed) => choose(changed.target.value) } }, options);
}

/** Goes to a position or a time. */
function jump(go) {
  const input = make("input", { "aria-label": "Go to a position or a time", placeholder: "position or time", size: 20 });
  const submit = (submitted) => {
    submitted.preventDefault();
    const text = input.value.trim();
    if (/^\d+$/.test(text)) go(links.to("/events", { after: Math.max(0, Number(text) - 1), order: "position" }));
    else if (text !== "") go(links.to("/events", { since: text.length === 10 ? `${text}T00:00:00Z` : text, order: "time" }));
  };
  return make("form", { on: { submit } }, input);
}

/** Shows later events as they come. What comes faster than it can be read is counted, not drawn. */
function liveButton({ parameters, isPossible, body, signal, told }) {
  let stop = null;
  const button = make("button", { "aria-pressed": "false", disabled: !isPossible, title: isPossible ? "Show new events as they are appended" : "A live view is of the newest events: put the newest first, and remove the filters before, after, as of and hour" }, "Live");
  button.addEventListener("click", () => {
    stop?.abort();
    const isOn = stop === null;
    stop = isOn ? new AbortController() : null;
    button.setAttribute("aria-pressed", String(isOn));
    button.textContent = isOn ? "Pause" : "Live";
    if (isOn) follow(parameters, AbortSignal.any([signal, stop.signal]), body, told);
  });
  return button;
}

function follow(parameters, signal, body, told) {
  let [seen, waiting, isAsked] = [0, [], false];
  const look = () => {
    isAsked = false;
    const rows = waiting.map((draw) => draw()).reverse();
    waiting = [];
    body.prepend(...rows);
    while (body.rows.length > LIVE_ROWS) body.lastElementChild.remove();
    told.textContent = `${number(seen)} new`;
  };
  const add = (draw) => {
    waiting.push(draw);
    if (waiting.length > FRAME_ROWS) waiting.shift();
    if (!isAsked) { isAsked = true; requestAnimationFrame(look); }
  };
  const deliver = (name, _id, data) => {
    if (name === "event") { seen += 1; add(() => rowOf(data, { class: "new" })); }
    if (name === "gap") add(() => gapRow(`${number(data.count)} events from position ${data.first} to ${data.last} are not there any more`));
    if (name === "reset") add(() => gapRow("The store was replaced: its log begins again"));
    if (name === "lost") told.textContent = "the server does not answer; trying again";
  };
  tail(parameters, signal, deliver).catch((error) => { told.textContent = error.message; });
}
