// The state that the program folds from the events of an aggregate, and what its last event changed.

import { get, server } from "../api.js";
import { json, make, number, table } from "../dom.js";
import { none } from "./rows.js";

/** Changes that are shown, at most. */
const CHANGES_MAX = 100;

/** The section with the state after a version, and a function that shows another version; null where the program folds no such aggregates. */
export async function stateOf(path, version, signal) {
  const { capabilities } = await server(signal);
  if (!capabilities.includes("states")) return null;
  const first = await read(path, version, signal);
  if (first.status === 404) return null;
  const place = make("div", {});
  let wanted = version;
  const draw = (found) => place.replaceChildren(...(found.refusal === undefined ? shown(found) : [none(found.refusal)]));
  const show = async (next) => {
    wanted = next;
    const found = await read(path, next, signal);
    // The slider may have moved on since.
    if (next === wanted) draw(found);
  };
  draw(first);
  return { shown: make("section", {}, make("h2", {}, "State"), place), show };
}

/** The state after a version and after the one before, or why there is none. */
async function read(path, version, signal) {
  const at = (wanted) => get(`${path}/state`, { version: wanted }, signal);
  try {
    const [after, before] = await Promise.all([at(version), version > 0 ? at(version - 1) : null]);
    return { version, after: after.state, before: before?.state };
  } catch (error) {
    if (error.name === "AbortError") throw error;
    return { refusal: error.message, status: error.status };
  }
}

function shown({ version, after, before }) {
  const changes = [];
  compare(before, after, "", changes);
  const cell = (value) => ({ content: make("code", {}, value === undefined ? "" : JSON.stringify(value)) });
  const rows = changes.slice(0, CHANGES_MAX).map(([pointer, old, now]) => [make("code", {}, pointer === "" ? "/" : pointer), cell(old), cell(now)]);
  const more = changes.length - rows.length;
  return [
    json(after),
    make("h3", {}, `Changed by version ${number(version)}`),
    rows.length === 0 ? none("Nothing.") : table(["where", "before", "after"], rows),
    more > 0 ? none(`and ${number(more)} more`) : "",
  ];
}

const isTree = (value) => typeof value === "object" && value !== null;

/** Adds each place where two JSON values differ, as a JSON pointer (RFC 6901), with the values there. */
function compare(before, after, pointer, changes) {
  if (isTree(before) && isTree(after) && Array.isArray(before) === Array.isArray(after)) {
    for (const key of new Set([...Object.keys(before), ...Object.keys(after)])) {
      const part = key.replaceAll("~", "~0").replaceAll("/", "~1");
      compare(before[key], after[key], `${pointer}/${part}`, changes);
    }
  } else if (isTree(before) || isTree(after) || before !== after) {
    changes.push([pointer, before, after]);
  }
}
