// The events of an hour of the week, which a cell of the heatmap counts: a range of time for each week of the log.

import { get, send } from "../api.js";

const [HOUR, DAY, WEEK] = [3_600_000, 86_400_000, 7 * 86_400_000];
/** Monday, the first of the weeks since 1970. */
const MONDAY = 4 * DAY;
/** Weeks that a query names, at most: the latest of them, for ten years. */
const WEEKS_MAX = 520;
export const WEEKDAYS = ["Mo", "Tu", "We", "Th", "Fr", "Sa", "Su"];
const FIELDS = { eventType: "eventType", aggregateTypeFilter: "aggregateType", aggregate: "aggregate", correlation: "correlation", user: "user", organization: "organization", tag: "tag", day: "day" };

/** The hour that an address names: `hour=0-13` is 13:00 of Mondays; null without a valid one. */
export function hourOf(query) {
  const [whole, weekday, hour] = /^([0-6])-([01]?\d|2[0-3])$/.exec(query.get("hour") ?? "") ?? [];
  return whole === undefined ? null : { weekday: Number(weekday), hour: Number(hour) };
}

export const nameOf = ({ weekday, hour }) => `${WEEKDAYS[weekday]} ${String(hour).padStart(2, "0")}:00`;

/** A page of the events of this hour that match the filters, with `isCut` if the log has more weeks. */
export async function page(asked, hour, { order, cursor, limit }, signal) {
  const { first, last } = await get("/statistics", { top: 1 }, signal);
  if (first === null) return { events: [], next: null, isCut: false };
  const { ranges, isCut } = rangesOf(hour, Date.parse(first), Date.parse(last));
  const one = (key) => asked[key].at(-1);
  const query = { filter: { all: [{ any: ranges }, ...filtersOf(asked)] }, order, limit, cursor: cursor ?? undefined, since: one("since"), before: one("before"), asOf: pastOf(one("asOf")) };
  if (one("after") !== undefined) query.after = Number(one("after"));
  return { ...(await send("POST", "/query", {}, query)), isCut };
}

/** The hour in each week from the first event to the last; times are in UTC, as those of the heatmap. */
export function rangesOf({ weekday, hour }, first, last) {
  const weekOf = (time) => Math.floor((time - MONDAY) / WEEK);
  const from = Math.max(weekOf(first), weekOf(last) - WEEKS_MAX + 1);
  const ranges = [];
  for (let week = from; week <= weekOf(last); week += 1) {
    const begin = MONDAY + week * WEEK + weekday * DAY + hour * HOUR;
    // The end belongs to the range, and times have microseconds.
    ranges.push({ times: { from: new Date(begin).toISOString(), to: new Date(begin + HOUR - 1).toISOString().replace("Z", "999Z") } });
  }
  return { ranges, isCut: from > weekOf(first) };
}

function filtersOf(asked) {
  const filters = Object.entries(FIELDS).filter(([key]) => asked[key].length > 0).map(([key, field]) => ({ [field]: asked[key] }));
  const alternatives = (list) => (list.length === 0 ? [] : [{ any: list }]);
  return [
    ...filters,
    ...alternatives(asked.aggregatePrefix.map((value) => ({ prefix: { field: "aggregate", value } }))),
    ...asked.text.map((text) => ({ text })),
  ];
}

const pastOf = (text) => (/^\d+$/.test(text ?? "") ? Number(text) : text);
