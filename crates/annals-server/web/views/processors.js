// The processors of a mounted program: how far they are, and their control.

import { get, send } from "../api.js";
import { button } from "../actions.js";
import { make, number, seconds, table } from "../dom.js";
import * as links from "../links.js";
import { lettersOf } from "./letters.js";
import { none } from "./rows.js";

const HEADINGS = [
  "processor", "state", { text: "events behind", class: "number" }, { text: "time behind", class: "number" }, { text: "position", class: "number" },
  { text: "handled", class: "number" }, { text: "dead letters", class: "number" }, "last failure", "",
];
const TEXTS = { running: "running", caughtUp: "caught up", paused: "paused", stopped: "stopped", ended: "ended", other: "unknown" };
const CLASSES = { stopped: "state bad", ended: "state bad", paused: "state warn" };

const path = (name) => `/processors/${encodeURIComponent(name)}`;
const state = (one) => make("span", { class: CLASSES[one.state] ?? "state" }, TEXTS[one.state]);

export async function show(into, { parameter, query, signal, redraw }) {
  if (parameter !== undefined) return showOne(into, parameter, { signal, redraw, cursor: query.get("cursor") });
  const { processors } = await get("/processors", {}, signal);
  into.append(
    make("h1", {}, "Processors"),
    make("div", { class: "tools" }, make("button", { on: { click: redraw } }, "Refresh")),
    processors.length === 0 ? none("The program has no processor.") : table(HEADINGS, processors.map((one) => rowOf(one, redraw))));
}

function rowOf(one, redraw) {
  return [
    { class: "name", content: make("a", { href: links.to(path(one.name)) }, one.name) }, state(one),
    { class: "number", content: number(one.lagEvents) }, { class: "number", content: seconds(one.lagSeconds) },
    { class: "number", content: links.event(one.position, number(one.position)) }, { class: "number", content: number(one.handled) },
    { class: "number", content: letters(one) }, { class: "reason", content: one.stopReason ?? one.lastError?.reason ?? "" }, controls(one, redraw),
  ];
}

function letters(one) {
  if (one.deadLetters === null) return "";
  return one.deadLetters === 0 ? "0" : make("a", { href: links.to(path(one.name)) }, number(one.deadLetters));
}

/** What can be done in its state. Only the program starts one that has ended. */
function controls(one, redraw) {
  const act = (verb) => () => send("POST", `${path(one.name)}/${verb}`);
  const isRunning = one.state === "running" || one.state === "caughtUp";
  const resume = one.state === "paused" || one.state === "stopped" ? button("Resume", act("resume"), redraw) : null;
  return make("div", { class: "actions" }, isRunning ? button("Pause", act("pause"), redraw) : resume);
}

async function showOne(into, name, { signal, redraw, cursor }) {
  const one = await get(path(name), {}, signal);
  const fields = [
    ["state", state(one)], ["stopped because", one.stopReason], ["position", links.event(one.position, number(one.position))],
    ["behind", `${number(one.lagEvents)} events, ${seconds(one.lagSeconds)}`], ["handled", number(one.handled)], ["parked", number(one.parked)],
    ["waits for", one.waitsFor], ["last failure", one.lastError && links.event(one.lastError.position, one.lastError.reason)],
  ];
  into.append(
    make("h1", {}, `Processor ${one.name}`),
    make("div", { class: "tools" }, make("button", { on: { click: redraw } }, "Refresh"), controls(one, redraw)),
    make("dl", {}, fields.filter(([, value]) => value !== null && value !== undefined).flatMap(([key, value]) => [make("dt", {}, key), make("dd", {}, value)])),
    make("h2", {}, "Dead letters"),
    one.deadLetters === null ? none("It keeps none.") : await lettersOf("processors", name, { signal, redraw, cursor }));
}
