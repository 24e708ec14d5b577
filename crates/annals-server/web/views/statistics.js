// Statistics: over time, by weekday and hour, by type and user. Each figure leads to its events.

import { get } from "../api.js";
import { make, number, svgLink, table } from "../dom.js";
import * as links from "../links.js";
import { WEEKDAYS, nameOf } from "./hours.js";
import { none } from "./rows.js";

const SPANS = { hour: 3_600_000, day: 86_400_000, week: 7 * 86_400_000 };
const BUCKETS = ["hour", "day", "week", "month", "year"];

export async function show(into, { query, signal, go }) {
  const [statistics, heatmap] = await Promise.all([get("/statistics", { top: 15 }, signal), get("/heatmap", {}, signal)]);
  if (statistics.total === 0) {
    into.append(make("h1", {}, "Statistics"), none("There is no event yet."));
    return;
  }
  const by = query.get("by") ?? fitting(Date.parse(statistics.last) - Date.parse(statistics.first));
  const trend = await get("/trend", { by, fill: true }, signal);
  const options = BUCKETS.map((value) => make("option", { value, selected: value === by }, `by ${value}`));
  const choose = (changed) => go(links.to("/statistics", { by: changed.target.value }));
  into.append(
    make("h1", {}, "Statistics"),
    make("p", { class: "dim" }, `${number(statistics.total)} events from ${statistics.first} to ${statistics.last}; times in ${statistics.timeZone}`),
    make("div", { class: "tools" }, make("h2", {}, "Over time"), make("select", { "aria-label": "Length of a bar", on: { change: choose } }, options)),
    trendChart(trend.rows, by),
    make("h2", {}, "By weekday and hour"), heatmapChart(heatmap),
    make("div", { class: "columns" },
      ranking("By event type", statistics.byType, "eventType"), ranking("By aggregate type", statistics.byAggregateType, "aggregateTypeFilter"),
      ranking("By user", statistics.byUser, "user"), ranking("By organization", statistics.byOrganization, "organization")));
}

/** The shortest bar of which there are not too many. */
function fitting(millis) {
  if (millis <= 4 * SPANS.day) return "hour";
  if (millis <= 200 * SPANS.day) return "day";
  return millis <= 1000 * SPANS.day ? "week" : "month";
}

function trendChart(rows, by) {
  const [width, height, left, bottom] = [1000, 180, 50, 22];
  const most = rows.reduce((most, { count }) => Math.max(most, count), 1);
  const step = (width - left) / Math.max(1, rows.length);
  const drawn = make("svg", { viewBox: `0 0 ${width} ${height + bottom}`, role: "img", "aria-label": `Events by ${by}; the table below has the figures` },
    [0, 0.5, 1].flatMap((part) => {
      const y = height - part * (height - 12);
      return [make("line", { class: "rule", x1: left, x2: width, y1: y, y2: y }), make("text", { x: left - 6, y: y + 4, "text-anchor": "end" }, number(Math.round(part * most)))];
    }));
  const labels = Math.max(1, Math.ceil(rows.length / 10));
  rows.forEach((row, index) => {
    const tall = (row.count / most) * (height - 12);
    const bar = make("rect", { class: "fill", x: left + index * step, y: height - tall, width: Math.max(0.6, step - (step > 4 ? 1 : 0)), height: tall }, make("title", {}, `${row.label}: ${number(row.count)}`));
    const next = rows[index + 1]?.start ?? null;
    drawn.append(row.count > 0 ? svgLink(links.to("/events", { since: row.start, before: next, order: "time" }), bar) : bar);
    if (index % labels === 0 && index + labels / 2 < rows.length) drawn.append(make("text", { x: left + index * step, y: height + 15 }, row.label));
  });
  return make("div", {}, drawn, make("details", {}, make("summary", {}, "Figures"),
    table([by, { text: "events", class: "number" }], rows.filter(({ count }) => count > 0).map((row) => [row.label, { class: "number", content: number(row.count) }]))));
}

function heatmapChart(heatmap) {
  const most = Math.max(1, heatmap.max);
  const [cell, left, top] = [48, 36, 18];
  const drawn = make("svg", { viewBox: `0 0 ${left + 24 * cell} ${top + 7 * 26}`, role: "group", "aria-label": "Events by weekday and hour" });
  for (let hour = 0; hour < 24; hour += 3) drawn.append(make("text", { x: left + hour * cell, y: 13 }, `${String(hour).padStart(2, "0")}:00`));
  WEEKDAYS.forEach((name, weekday) => {
    drawn.append(make("text", { x: 8, y: top + weekday * 26 + 16 }, name));
    for (let hour = 0; hour < 24; hour += 1) {
      const count = heatmap.counts[weekday][hour];
      const title = make("title", {}, `${nameOf({ weekday, hour })}: ${number(count)}`);
      const square = make("rect", { class: "cell", x: left + hour * cell, y: top + weekday * 26, width: cell - 2, height: 24, rx: 2, "fill-opacity": count === 0 ? 0.04 : (0.15 + 0.85 * (count / most)).toFixed(3) }, title);
      drawn.append(count > 0 ? svgLink(links.to("/events", { hour: `${weekday}-${hour}`, order: "-time" }), square) : square);
    }
  });
  return make("div", { class: "scroll" }, drawn);
}

function ranking(title, counts, filter) {
  const ranked = Object.entries(counts).sort(([, a], [, b]) => b - a);
  const most = ranked[0]?.[1] ?? 1;
  const rows = ranked.map(([name, count]) => {
    const bar = make("i");
    bar.style.width = `${(100 * count) / most}%`;
    return [{ class: "name bar", content: make("div", { class: "bar" }, bar, make("span", {}, links.events({ [filter]: name }, name))) }, { class: "number", content: number(count) }];
  });
  return make("section", {}, make("h2", {}, title), rows.length === 0 ? none("none") : table(["name", { text: "events", class: "number" }], rows));
}
