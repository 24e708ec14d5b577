// Dead letters of a processor or a group, with what can be done about them.

import { get, send } from "../api.js";
import { button } from "../actions.js";
import { make, number, table, time } from "../dom.js";
import * as links from "../links.js";
import { none } from "./rows.js";

const HEADINGS = [{ text: "position", class: "number" }, "event", "aggregate", { text: "attempts", class: "number" }, "parked", "reason", ""];
const LIMIT = 50;

/** What a processor's letters and a group's differ in: how they are tried again. */
const KINDS = {
  processors: {
    one: (base, letter) => retried(send("POST", `${base}/${letter.position}/retry`)),
    all: (base) => retried(send("POST", `${base}/retry`)),
    text: "Retry",
    textOfAll: "Retry all",
  },
  groups: {
    one: (base, letter) => replayed(send("POST", `${base}/replay`, { aggregate: letter.aggregateId })),
    all: (base) => replayed(send("POST", `${base}/replay`)),
    text: "Deliver again",
    textOfAll: "Deliver all again",
  },
};

/** A retry calls the handler: what fails again is said. */
async function retried(answer) {
  const { left, next } = await answer;
  return left > 0 ? `${number(left)} left: ${next.reason}` : undefined;
}

/** A letter of a group stays until a consumer has acknowledged its event. */
async function replayed(answer) {
  const count = (await answer).replayed;
  return count > 0 ? `${number(count)} to be delivered again` : "is being delivered already";
}

/** The letters of the processor or the group `name`, a page after `cursor`. `kind` is the path of the API. */
export async function lettersOf(kind, name, { signal, redraw, cursor }) {
  const base = `/${kind}/${encodeURIComponent(name)}/dead-letters`;
  const page = await get(base, { limit: LIMIT, cursor }, signal);
  const { one, all, text, textOfAll } = KINDS[kind];
  const lost = page.lostRecords > 0 ? make("p", { class: "notice" }, `${number(page.lostRecords)} records of letters were dropped by a limit or a truncation.`) : null;
  if (page.total === 0) return make("div", {}, lost, none("There is no dead letter."));
  const rows = page.deadLetters.map((letter) => [
    { class: "number", content: links.event(letter.position, number(letter.position)) },
    { class: "type", content: links.events({ eventType: letter.eventType }, letter.eventType) },
    { class: "name", content: links.stream(letter.aggregateId) },
    { class: "number", content: number(letter.attempts) }, time(letter.parkedAt), { class: "reason", content: letter.reason },
    make("div", { class: "actions" },
      button(text, () => one(base, letter), redraw),
      button("Discard", () => send("POST", `${base}/${letter.position}/discard`), redraw, { sure: "Discard for ever?" })),
  ]);
  return make("div", {}, lost,
    make("div", { class: "tools" }, make("span", { class: "dim" }, `${number(page.total)} in all`), button(textOfAll, () => all(base), redraw)),
    table(HEADINGS, rows),
    page.next === null ? null : make("p", {}, make("a", { href: links.to(`/${kind}/${encodeURIComponent(name)}`, { cursor: page.next }) }, "next page")));
}
