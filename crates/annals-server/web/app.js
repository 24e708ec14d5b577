// Finds the view of an address, and draws it.

import { Problem, namespace, server, setToken } from "./api.js";
import { make } from "./dom.js";
import { to } from "./links.js";
import * as home from "./views/home.js";
import * as events from "./views/events.js";
import * as streams from "./views/streams.js";
import * as stream from "./views/stream.js";
import * as event from "./views/event.js";
import * as trace from "./views/trace.js";
import * as statistics from "./views/statistics.js";
import * as storage from "./views/storage.js";
import * as processors from "./views/processors.js";
import * as groups from "./views/groups.js";
import * as deadLetters from "./views/dead_letters.js";
import * as sagas from "./views/sagas.js";
import * as test from "./views/test.js";

/** Path, name, key, and the part of the API that the page needs if not every server has it. */
const PAGES = [
  ["/", "Home", "h"], ["/events", "Events", "e"], ["/streams", "Streams", "s"], ["/statistics", "Statistics", "t"], ["/storage", "Storage", "o"],
  ["/processors", "Processors", "p", "processors"], ["/sagas", "Sagas", "a", "sagas"], ["/groups", "Groups", "r"], ["/dead-letters", "Dead letters", "d"], ["/test", "Test console", "c", "testApi"],
];

const VIEWS = [
  [/^\/$/, home], [/^\/events$/, events], [/^\/events\/([^/]+)$/, event], [/^\/streams$/, streams], [/^\/streams\/([^/]+)$/, stream],
  [/^\/traces\/([^/]+)$/, trace], [/^\/statistics$/, statistics], [/^\/storage$/, storage],
  [/^\/processors$/, processors], [/^\/processors\/([^/]+)$/, processors], [/^\/groups$/, groups], [/^\/groups\/([^/]+)$/, groups],
  [/^\/dead-letters$/, deadLetters], [/^\/sagas$/, sagas], [/^\/sagas\/([^/]+)$/, sagas], [/^\/test$/, test],
];

const main = document.getElementById("main");
const search = document.getElementById("search");
/** The optional parts of the API that the server has. */
let capabilities = [];
/** Ends what the shown view has begun. */
let leaving = new AbortController();

const shownPath = () => location.pathname.replace(/^\/ui/, "").replace(/\/+$/, "") || "/";

/** Draws the view of the address. */
async function draw() {
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  const path = shownPath();
  const query = new URLSearchParams(location.search);
  drawNavigation(path);
  const [view, parameter] = found(path);
  const shown = make("div");
  try {
    if (view === undefined) throw new Problem({ detail: `there is no page ${path}` }, 404);
    await view.show(shown, { parameter, query, signal, go, redraw: draw });
  } catch (error) {
    if (signal.aborted) return;
    shown.replaceChildren(refused(error));
  }
  if (signal.aborted) return;
  main.replaceChildren(shown);
  document.title = `${shown.querySelector("h1")?.textContent ?? "Annals"} · Annals`;
}

function found(path) {
  for (const [pattern, view] of VIEWS) {
    const match = pattern.exec(path);
    if (match !== null) return [view, match[1] === undefined ? undefined : decodeURIComponent(match[1])];
  }
  return [];
}

function drawNavigation(path) {
  const links = PAGES.filter(([, , , part]) => part === undefined || capabilities.includes(part)).map(([target, name, key]) => {
    const isHere = target === "/" ? path === "/" : path.startsWith(target);
    return make("a", { href: to(target), "aria-current": isHere ? "page" : null, title: `g ${key}` }, name);
  });
  const name = namespace();
  const place = name === null ? null : make("a", { href: to("/"), class: "name" }, name);
  document.getElementById("nav").replaceChildren(make("a", { href: "/ui/", class: "name" }, "Annals"), ...(place ? [place] : []), ...links);
}

/** Why there is nothing to see; where a token is missing, a form for one. */
function refused(error) {
  const text = make("p", { class: "problem", role: "alert" }, error.message);
  if (!(error instanceof Problem) || error.status !== 401) return text;
  const input = make("input", { type: "password", name: "token", "aria-label": "Token", autocomplete: "off" });
  const submit = (submitted) => {
    submitted.preventDefault();
    setToken(input.value.trim());
    draw();
  };
  return make("div", {}, text, make("form", { class: "tools", on: { submit } }, "Token:", input, make("button", {}, "Use")));
}

/** Goes to another address of these pages. */
function go(target) {
  history.pushState(null, "", target);
  draw().then(() => { main.focus({ preventScroll: true }); scrollTo(0, 0); });
}

document.addEventListener("click", (clicked) => {
  const link = clicked.target.closest("a[href]");
  const isPlain = clicked.button === 0 && !clicked.ctrlKey && !clicked.metaKey && !clicked.shiftKey && !clicked.altKey;
  const target = link?.getAttribute("href");
  if (isPlain && target?.startsWith("/ui/") && !link.hasAttribute("download")) {
    clicked.preventDefault();
    go(target);
  }
});

search.addEventListener("submit", (submitted) => {
  submitted.preventDefault();
  go(to("/events", { text: search.elements.text.value, order: "-position" }));
});

/** `/` searches, `g` and a letter goes to a page, `j` and `k` go through the rows, Enter follows the link of one. */
let isAfterG = false;
document.addEventListener("keydown", (pressed) => {
  const isTyping = pressed.target.closest("input, select, textarea") !== null;
  if (isTyping || pressed.ctrlKey || pressed.metaKey || pressed.altKey) return;
  const page = isAfterG ? PAGES.find(([, , key]) => key === pressed.key) : undefined;
  isAfterG = pressed.key === "g";
  if (page !== undefined) go(to(page[0]));
  else if (pressed.key === "/") { pressed.preventDefault(); search.elements.text.focus(); }
  else if (pressed.key === "j" || pressed.key === "k") moveRow(pressed.key === "j" ? 1 : -1);
});

function moveRow(step) {
  const rows = [...main.querySelectorAll("tbody tr")].filter((row) => row.querySelector("a") !== null);
  const at = rows.findIndex((row) => row.contains(document.activeElement));
  const next = rows[at === -1 ? 0 : at + step];
  next?.querySelector("a").focus();
}

addEventListener("popstate", draw);
draw();
server().then((found) => {
  capabilities = found.capabilities;
  drawNavigation(shownPath());
  if (found.ephemeral) document.getElementById("banner").textContent = "Nothing here is kept: the server has no journal, and its events end with it.";
}).catch(() => {});
