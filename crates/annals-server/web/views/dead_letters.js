// The dead letters of every processor and every group.

import { get, server } from "../api.js";
import { make, number } from "../dom.js";
import * as links from "../links.js";
import { lettersOf } from "./letters.js";
import { none } from "./rows.js";

/** Owners whose letters are shown; the others are linked. */
const SHOWN = 5;

export async function show(into, { signal, redraw }) {
  const owners = await ownersOf(signal);
  const shown = await Promise.all(owners.slice(0, SHOWN).map(({ kind, name }) => lettersOf(kind, name, { signal, redraw })));
  into.append(
    make("h1", {}, "Dead letters"),
    make("div", { class: "tools" }, make("button", { on: { click: redraw } }, "Refresh")),
    owners.length === 0 ? none("There is no dead letter: every event was handled, or is yet to be.") : "",
    ...owners.flatMap(({ kind, name, count }, index) => [
      make("h2", {}, kind === "groups" ? "Group " : "Processor ", make("a", { href: links.to(`/${kind}/${encodeURIComponent(name)}`) }, name), ` (${number(count)})`),
      shown[index] ?? null,
    ].filter((part) => part !== null)));
}

/** The processors and groups that have letters. */
async function ownersOf(signal) {
  const about = await server(signal);
  const [processors, groups] = await Promise.all([
    about.capabilities.includes("processors") ? get("/processors", {}, signal).then((found) => found.processors).catch(notThere) : [],
    get("/groups", {}, signal).then((found) => found.groups),
  ]);
  return [
    ...processors.map((one) => ({ kind: "processors", name: one.name, count: one.deadLetters ?? 0 })),
    ...groups.map((group) => ({ kind: "groups", name: group.name, count: group.status?.deadLetters ?? 0 })),
  ].filter(({ count }) => count > 0);
}

/** The program may be of another namespace. */
function notThere(error) {
  if (error.status !== 404) throw error;
  return [];
}
