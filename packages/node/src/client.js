"use strict";

/** Bytes of an answer, at most: the server's pages have fewer. */
const ANSWER_BYTES_MAX = 256 * 1024 * 1024;

/** The server did not answer, or its answer to a call that succeeded cannot be read: whether an append was stored is unknown. */
class Unreachable extends Error {
  constructor(message, options) {
    super(message, options);
    this.name = "Unreachable";
  }
}

/** A refusal. `document` is the server's problem document: https://www.rfc-editor.org/rfc/rfc9457 */
class Problem extends Error {
  constructor(status, document) {
    super(String(document.detail ?? document.title ?? `the server answered ${status}`));
    this.name = this.constructor.name;
    this.status = status;
    this.document = document;
    this.type = String(document.type ?? "").split("/").at(-1);
  }
}

/** The aggregate has another version than was expected: `actual`. */
class Conflict extends Problem {
  get actual() {
    return this.document.actualVersion;
  }
}

/** A store behind a server. Calls may run at the same time. */
class Client {
  #base;
  #token;
  #timeout;

  constructor(url, { namespace, token, timeout = 60_000 } = {}) {
    if (!URL.canParse(url) || !/^https?:$/.test(new URL(url).protocol)) {
      throw new TypeError(`'${url}' is no URL of a server, such as http://127.0.0.1:4280`);
    }
    this.url = String(url).replace(/\/+$/, "");
    this.#base = `${this.url}/v1${namespace === undefined ? "" : `/ns/${encodeURIComponent(namespace)}`}`;
    this.#token = token;
    this.#timeout = timeout;
  }

  /** The store of this name on the same server. */
  namespace(name) {
    return new Client(this.url, { namespace: name, token: this.#token, timeout: this.#timeout });
  }

  // Writing

  /** Appends one event or several, all or none. Another version than `expected` is a `Conflict`. */
  append(aggregateId, events, { aggregateType, expected, durability, idempotencyKey } = {}) {
    const parameters = { aggregateType, expectedVersion: expected, durability };
    const headers = idempotencyKey === undefined ? {} : { "Idempotency-Key": idempotencyKey };
    return this.#call("POST", `${stream(aggregateId)}/events`, parameters, events, headers);
  }

  /** Appends to several aggregates, all or none. `members` are those of the request beside `appends`, such as `condition`. */
  appendAll(appends, members = {}) {
    return this.#call("POST", "/appends", {}, { ...members, appends });
  }

  /** Drops the events of an aggregate; with `tombstone` later appends are refused. */
  delete(aggregateId, { tombstone } = {}) {
    return this.#call("DELETE", stream(aggregateId), { tombstone });
  }

  // Reading

  /** The events of an aggregate, a page at a time. */
  stream(aggregateId, parameters = {}) {
    return this.#pages(`${stream(aggregateId)}/events`, parameters);
  }

  /** The events that match the filters of the API, such as `{ eventType: "OrderPaid" }`; a list is one of these values. */
  events(filters = {}) {
    return this.#pages("/events", filters);
  }

  /** The event with this position or id. */
  event(event) {
    return this.#call("GET", `/events/${encodeURIComponent(event)}`);
  }

  /** How many events match. */
  async count(filters = {}) {
    return (await this.#call("GET", "/count", filters)).count;
  }

  /** The answer to any reading path of the API in this store, such as `/statistics` or `/traces/checkout-9`. */
  get(path, parameters = {}) {
    return this.#call("GET", path, parameters);
  }

  // A server that was started with --test-api

  /** Empties the store, or makes it; `now` sets its clock, `seed` makes the ids of events repeatable. */
  async reset({ now, seed } = {}) {
    await this.#call("POST", "/test/reset", { now, seed });
  }

  /** Moves the clock of the store on, and returns its time. */
  async advance({ seconds }) {
    return (await this.#call("POST", "/test/clock/advance", {}, { seconds })).now;
  }

  /** Keeps a copy of the store, and returns its number. */
  async snapshot() {
    return (await this.#call("POST", "/test/snapshots")).snapshot;
  }

  /** Makes the store what it was. */
  async restore(snapshot) {
    await this.#call("POST", `/test/snapshots/${encodeURIComponent(snapshot)}/restore`);
  }

  /** Waits until a position is visible, and until groups have handled their events up to it, or all. A `Problem` says what is late. */
  wait({ position, group, timeoutSeconds } = {}) {
    return this.#call("GET", "/test/wait", { position, group, timeoutSeconds });
  }

  /** What happened in the store after an entry, in order; at most 1,000 entries. */
  async timeline({ after } = {}) {
    return (await this.#call("GET", "/test/timeline", { after, limit: 1000 })).entries;
  }

  /** Makes the next append that matches the rule fail, such as `fail("conflict", { aggregateId: "order-1" })`. Returns the number of the rule. */
  async fail(fault, rule = {}) {
    return (await this.#call("POST", "/test/faults", {}, { ...rule, fault })).number;
  }

  /** Deletes the rules of faults. */
  async heal() {
    await this.#call("DELETE", "/test/faults");
  }

  /** Removes the store from the server. */
  async drop() {
    await this.#call("DELETE", "/test");
  }

  async *#pages(path, parameters) {
    let cursor;
    do {
      const page = await this.#call("GET", path, cursor === undefined ? parameters : { ...parameters, cursor });
      yield* page.events;
      cursor = page.next ?? undefined;
    } while (cursor !== undefined);
  }

  async #call(method, path, parameters = {}, body = undefined, more = {}) {
    const target = this.#base + path + query(parameters);
    const headers = { Accept: "application/json", ...more };
    if (this.#token !== undefined) headers.Authorization = `Bearer ${this.#token}`;
    if (body !== undefined) headers["Content-Type"] = "application/json";
    const { status, text } = await this.#exchange(target, { method, headers, body: JSON.stringify(body) });
    const document = parsed(text, status);
    if (document === undefined) {
      const detail = `the answer to ${method} ${target} is no JSON object`;
      // Of a call that succeeded it is no refusal: an append was stored.
      throw status < 300 ? new Unreachable(detail) : new Problem(status, { detail });
    }
    if (status >= 200 && status < 300) return document;
    throw new ("actualVersion" in document ? Conflict : Problem)(status, document);
  }

  async #exchange(target, request) {
    try {
      // A redirection could name a host that must not get the token.
      const signal = AbortSignal.timeout(this.#timeout);
      const response = await fetch(target, { ...request, redirect: "manual", signal });
      return { status: response.status, text: await bounded(response) };
    } catch (error) {
      const reason = error.cause?.message || error.cause?.code || error.message;
      throw new Unreachable(`${this.url} does not answer: ${reason}`, { cause: error });
    }
  }
}

/** The text of an answer. */
async function bounded(response) {
  const parts = [];
  let bytes = 0;
  for await (const part of response.body ?? []) {
    bytes += part.length;
    if (bytes > ANSWER_BYTES_MAX) throw new Error(`the answer has more than ${ANSWER_BYTES_MAX} bytes`);
    parts.push(part);
  }
  return Buffer.concat(parts).toString("utf8");
}

/** The object in an answer. A refusal may have no body. */
function parsed(text, status) {
  if (text === "" && status >= 300) return {};
  try {
    const document = JSON.parse(text);
    return typeof document === "object" && document !== null && !Array.isArray(document) ? document : undefined;
  } catch {
    return undefined;
  }
}

function stream(aggregateId) {
  return `/streams/${encodeURIComponent(aggregateId)}`;
}

function query(parameters) {
  const given = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== undefined && one !== null) given.append(name, String(one));
    }
  }
  return given.size === 0 ? "" : `?${given}`;
}

module.exports = { Client, Conflict, Problem, Unreachable };
