// The API of the server, as these pages use it.

import { make } from "./dom.js";

const TOKEN = "annals-token";
/** How long the content of a download is held: some browsers read it only after the click. In milliseconds. */
const HELD_FOR = 30_000;

/** A refusal: what the problem document says. */
export class Problem extends Error {
  constructor(document, status) {
    super(document.detail ?? document.title ?? `the server answered ${status}`);
    this.status = status;
    this.title = document.title;
  }
}

/** The namespace that the address names; null for the default. */
export const namespace = () => new URLSearchParams(location.search).get("ns");

function base() {
  const name = namespace();
  return name === null ? "/v1" : `/v1/ns/${encodeURIComponent(name)}`;
}

export function setToken(token) {
  sessionStorage.setItem(TOKEN, token);
}

const hasToken = () => sessionStorage.getItem(TOKEN) !== null;

function headers(more = {}) {
  return hasToken() ? { ...more, Authorization: `Bearer ${sessionStorage.getItem(TOKEN)}` } : more;
}

/** `path` with the parameters that have a value; an array is repeated. */
function address(path, parameters) {
  const query = new URLSearchParams();
  for (const [key, value] of Object.entries(parameters)) {
    for (const one of [value].flat()) if (one !== undefined && one !== null && one !== "") query.append(key, one);
  }
  const text = query.toString();
  return text === "" ? path : `${path}?${text}`;
}

async function refuse(response) {
  const document = await response.json().catch(() => ({}));
  throw new Problem(document, response.status);
}

async function fetchJson(target, signal) {
  const response = await fetch(target, { signal, headers: headers({ Accept: "application/json" }) });
  if (!response.ok) await refuse(response);
  return response.json();
}

/** The answer to GET `path` in the namespace. */
export const get = (path, parameters = {}, signal = undefined) => fetchJson(address(base() + path, parameters), signal);

/** Sends a request that changes something, and returns its answer. Pages of other origins cannot: the server compares `Origin`. */
export async function send(method, path, parameters = {}, body = undefined) {
  const more = body === undefined ? {} : { "Content-Type": "application/json" };
  const sent = { method, headers: headers({ Accept: "application/json", ...more }), body: body === undefined ? undefined : JSON.stringify(body) };
  const response = await fetch(address(base() + path, parameters), sent);
  if (!response.ok) await refuse(response);
  return response.json();
}

/** What the server says of itself. */
export const server = (signal) => fetchJson("/", signal);

/**
 * A link that saves the answer to GET `path` as a file. The browser follows a link without the token: where there is one, the answer is fetched
 * with it, and handed to the browser.
 */
export function download(path, parameters, name, text) {
  const target = address(base() + path, parameters);
  const told = make("span", { class: "dim", role: "status" });
  const click = (clicked) => {
    if (!hasToken()) return;
    clicked.preventDefault();
    told.textContent = "";
    save(target, name).catch((error) => { told.textContent = error.message; });
  };
  return [make("a", { href: target, download: name, on: { click } }, text), told];
}

async function save(target, name) {
  const response = await fetch(target, { headers: headers({ Accept: "application/json" }) });
  if (!response.ok) await refuse(response);
  const held = URL.createObjectURL(await response.blob());
  make("a", { href: held, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(held), HELD_FOR);
}

/**
 * Follows the log from now on, and calls `deliver(name, id, data)` for every frame until `signal` ends it. Fetched, not an EventSource: that cannot send a token.
 */
export async function tail(parameters, signal, deliver) {
  let after = "now";
  for (let pause = 500; !signal.aborted; pause = Math.min(pause * 2, 10_000)) {
    try {
      const response = await fetch(address(`${base()}/tail`, { ...parameters, after }), { signal, headers: headers() });
      if (!response.ok) await refuse(response);
      for await (const frame of frames(response.body)) {
        pause = 500;
        if (frame.id !== "") after = frame.id;
        if (frame.data !== "") deliver(frame.event, after, JSON.parse(frame.data));
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof Problem && error.status < 500) throw error;
      deliver("lost", after, { pause });
    }
    await new Promise((resume) => setTimeout(resume, pause));
  }
}

/** The frames of server-sent events: https://html.spec.whatwg.org/multipage/server-sent-events.html */
async function* frames(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    rest += value;
    const parts = rest.split("\n\n");
    rest = parts.pop();
    for (const part of parts) {
      const frame = { event: "message", id: "", data: "" };
      for (const line of part.split("\n")) {
        const at = line.indexOf(": ");
        if (at > 0) frame[line.slice(0, at)] = line.slice(at + 2);
      }
      yield frame;
    }
  }
}
