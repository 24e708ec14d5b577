// The test console: namespaces, clock, snapshots, faults and the timeline of a server with the test API.

import { get, namespace, send, server } from "../api.js";
import { button, choice, field, form } from "../actions.js";
import { make, number, table, time } from "../dom.js";
import * as links from "../links.js";
import { none } from "./rows.js";

const FAULTS = ["conflict", "unavailable", "overload", "timeout", "lostAnswer", "delay"];
const OPERATIONS = ["appends", "reads", "all"];
/** Members of a rule that are numbers. */
const NUMBERS = ["times", "every", "delayMillis", "skip"];
const NAMESPACES_MAX = 200;
const ENTRIES = 200;

export async function show(into, { query, signal, redraw, go }) {
  const after = query.get("after") ?? undefined;
  const [about, clock, faults, timeline] = await Promise.all([
    server(signal), get("/test/clock", {}, signal), get("/test/faults", {}, signal), get("/test/timeline", { after, limit: ENTRIES }, signal),
  ]);
  into.append(
    make("h1", {}, `Test console: ${namespace() ?? about.defaultNamespace}`),
    make("p", { class: "notice" }, "What is done here changes or empties the store of a test."),
    make("h2", {}, "Namespace"), namespaces(about), ...changes(redraw, go),
    make("h2", {}, "Clock"), ...clockOf(clock, redraw),
    make("h2", {}, "Faults"), ...faultsOf(faults.rules, redraw),
    make("h2", {}, "Timeline"), ...timelineOf(timeline, redraw));
}

function namespaces({ namespaces: names, defaultNamespace }) {
  const shown = names.slice(0, NAMESPACES_MAX).flatMap((name) => [
    make("a", { href: name === defaultNamespace ? "/ui/test" : `/ui/test?ns=${encodeURIComponent(name)}` }, name), " ",
  ]);
  return make("p", {}, shown, names.length > NAMESPACES_MAX ? `and ${number(names.length - NAMESPACES_MAX)} more` : null);
}

function changes(redraw, go) {
  const at = (name) => `/ui/test?ns=${encodeURIComponent(name)}`;
  return [
    form([field("now", "clock at", { placeholder: "2026-01-31T12:00:00Z" }), field("seed", "seed", { inputmode: "numeric", size: 6 })], "Reset: empty it",
      (values) => send("POST", "/test/reset", values), redraw),
    form([field("name", "as", { required: true })], "Fork", async ({ name }) => { await send("POST", `/test/fork/${encodeURIComponent(name)}`); go(at(name)); }, () => {}),
    make("div", { class: "tools" },
      button("Keep a snapshot", async () => `snapshot ${(await send("POST", "/test/snapshots")).snapshot} is kept`, redraw),
      button("Remove the namespace", () => send("DELETE", "/test"), () => go("/ui/test"), { sure: "Remove it?" })),
    form([field("snapshot", "snapshot", { required: true, inputmode: "numeric", size: 4 })], "Restore",
      ({ snapshot }) => send("POST", `/test/snapshots/${encodeURIComponent(snapshot)}/restore`), redraw),
  ];
}

function clockOf(clock, redraw) {
  return [
    make("p", {}, time(clock.now), clock.manual ? " and stands still" : " and runs"),
    form([field("now", "time", { required: true, placeholder: "2026-01-31T12:00:00Z" })], "Set", ({ now }) => send("PUT", "/test/clock", {}, { now }), redraw),
    form([field("seconds", "seconds", { required: true, inputmode: "decimal", size: 8 })], "Advance",
      ({ seconds }) => send("POST", "/test/clock/advance", {}, { seconds: Number(seconds) }), redraw),
  ];
}

function faultsOf(rules, redraw) {
  const headings = [{ text: "rule", class: "number" }, "fault", "requests", { text: "matched", class: "number" }, { text: "struck", class: "number" }, ""];
  const rows = rules.map((rule) => [
    { class: "number", content: number(rule.number) }, rule.fault, { class: "reason", content: described(rule) },
    { class: "number", content: number(rule.matched) }, { class: "number", content: number(rule.struck) },
    make("div", { class: "actions" }, button("Delete", () => send("DELETE", `/test/faults/${rule.number}`), redraw)),
  ]);
  const add = ({ operations, ...values }) => {
    for (const name of NUMBERS) if (values[name] !== undefined) values[name] = Number(values[name]);
    return send("POST", "/test/faults", {}, { ...values, operations: [operations] });
  };
  const figure = { inputmode: "numeric", size: 4 };
  return [
    rows.length === 0 ? none("No request fails on purpose.") : table(headings, rows),
    form([choice("fault", "fault", FAULTS), choice("operations", "of", OPERATIONS), field("aggregateId", "aggregate"), field("eventType", "event"),
      field("times", "times", figure), field("every", "every", figure), field("delayMillis", "ms", figure)], "Add", add, redraw),
  ];
}

function described({ number: _number, fault: _fault, matched: _matched, struck: _struck, operations, ...members }) {
  return make("span", {}, operations.join(", "), listed(Object.entries(members).filter(([, value]) => value !== 0), "; "));
}

/** Names and values. A value that is written from right to left turns nothing beside it. */
function listed(members, before = "") {
  return members.flatMap(([name, value], index) => [index === 0 ? before : "; ", `${name} `, isolated(value)]);
}

const isolated = (value) => make("bdi", {}, value instanceof Node ? value : String(value));

function timelineOf({ entries, dropped, next }, redraw) {
  const rows = entries.map((entry) => [{ class: "number", content: number(entry.number) }, time(entry.at), entry.kind, { class: "reason", content: told(entry) }]);
  return [
    make("div", { class: "tools" }, make("button", { on: { click: redraw } }, "Refresh"),
      make("a", { href: links.to("/test", { after: next }) }, "later entries"), make("a", { href: links.to("/test") }, "from the beginning")),
    dropped > 0 ? make("p", { class: "notice" }, `${number(dropped)} older entries were dropped.`) : null,
    rows.length === 0 ? none("Nothing has happened.") : table([{ text: "entry", class: "number" }, "time", "kind", "what"], rows),
  ].filter((part) => part !== null);
}

/** What an entry says beside its kind. */
function told(entry) {
  if (entry.kind === "appended") {
    const versions = entry.firstVersion === entry.lastVersion ? entry.lastVersion : `${entry.firstVersion}–${entry.lastVersion}`;
    return make("span", {}, isolated(entry.eventTypes.join(", ")), " to ", isolated(links.stream(entry.aggregateId)), " ", isolated(entry.aggregateType),
      `, version ${versions}, position `, links.event(entry.firstPosition, number(entry.firstPosition)), entry.repeated ? ", repeated" : "");
  }
  const { number: _number, at: _at, kind: _kind, ...members } = entry;
  return make("span", {}, listed(Object.entries(members)));
}
