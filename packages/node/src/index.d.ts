/** A value of JSON. */
export type Json = null | boolean | number | string | Json[] | { [name: string]: Json };

/** An event to append. */
export interface NewEvent {
  eventType: string;
  eventId?: string;
  eventVersion?: number;
  eventData?: unknown;
  /** Data that are no JSON, as hexadecimal digits. */
  eventDataHex?: string;
  eventDataType?: string;
  timestamp?: string;
  correlationId?: string;
  causationId?: string;
  userId?: string;
  organizationId?: string;
  tags?: string[];
  metadata?: Record<string, unknown>;
}

/** A stored event. Numbers in data beyond 2^53 lose digits, as with every `JSON.parse`. */
export interface Event {
  eventId: string;
  position: number;
  aggregateId: string;
  aggregateType: string;
  version: number;
  eventType: string;
  eventVersion: number;
  timestamp: string;
  recordedAt: string;
  eventData?: any;
  eventDataHex?: string;
  eventDataType?: string;
  tags?: string[];
  metadata?: Record<string, any>;
}

export type Expected = number | "any" | "none" | "exists";
export type Durability = "volatile" | "written" | "synced";
export type Value = string | number | boolean;
/** Parameters of the API, such as `eventType`, `user`, `order` or `limit`. A list is one of these values. */
export type Parameters = Record<string, Value | Value[] | undefined>;

export interface AppendOptions {
  /** The type of the aggregate, which its first append fixes. */
  aggregateType?: string;
  expected?: Expected;
  durability?: Durability;
  /** Names the request: sent again with the same key and events, it stores nothing. */
  idempotencyKey?: string;
}

export interface Appended {
  firstVersion: number;
  lastVersion: number;
  firstPosition: number;
  lastPosition: number;
  durability: Durability;
  repeated: boolean;
}

export interface AggregateAppend {
  aggregateId: string;
  aggregateType?: string;
  expectedVersion?: Expected;
  events: NewEvent[];
}

export interface ClientOptions {
  namespace?: string;
  token?: string;
  /** Milliseconds that an answer may take: 60,000 by default. */
  timeout?: number;
}

/** The server did not answer. */
export class Unreachable extends Error {}

/** A refusal. `document` is the server's problem document: https://www.rfc-editor.org/rfc/rfc9457 */
export class Problem extends Error {
  readonly status: number;
  readonly document: Record<string, any>;
  /** What kind of problem it is, such as `version-conflict`. */
  readonly type: string;
}

/** The aggregate has another version than was expected. */
export class Conflict extends Problem {
  get actual(): number;
}

/** How a request fails. */
export type Fault = "conflict" | "unavailable" | "overload" | "timeout" | "lostAnswer" | "delay";

/** Which requests fail, and how often: the next append by default. */
export interface FaultRule {
  /** Operation ids of the API, or `appends`, `reads` and `all`. */
  operations?: string[];
  aggregateId?: string;
  aggregateType?: string;
  eventType?: string;
  delayMillis?: number;
  skip?: number;
  times?: number;
  every?: number;
  probability?: number;
  seed?: number;
}

/** Something that happened in a store: an append, a refusal, a fault, a reset and so on. */
export interface TimelineEntry {
  number: number;
  at: string;
  kind: string;
  [member: string]: any;
}

/** A store behind a server. Calls may run at the same time. */
export class Client {
  constructor(url: string, options?: ClientOptions);
  readonly url: string;
  /** The store of this name on the same server. */
  namespace(name: string): Client;
  /** Appends one event or several, all or none. Another version than `expected` is a `Conflict`. */
  append(aggregateId: string, events: NewEvent | NewEvent[], options?: AppendOptions): Promise<Appended>;
  /** Appends to several aggregates, all or none. `members` are those of the request beside `appends`, such as `condition`. */
  appendAll(appends: AggregateAppend[], members?: Record<string, unknown>): Promise<{ appended: (Appended & { aggregateId: string })[] }>;
  /** Drops the events of an aggregate; with `tombstone` later appends are refused. */
  delete(aggregateId: string, options?: { tombstone?: boolean }): Promise<Record<string, any>>;
  /** The events of an aggregate, a page at a time. */
  stream(aggregateId: string, parameters?: Parameters): AsyncGenerator<Event, void, void>;
  /** The events that match the filters of the API. */
  events(filters?: Parameters): AsyncGenerator<Event, void, void>;
  /** The event with this position or id. */
  event(event: number | string): Promise<Event>;
  /** How many events match. */
  count(filters?: Parameters): Promise<number>;
  /** The answer to any reading path of the API in this store, such as `/statistics` or `/traces/checkout-9`. */
  get(path: string, parameters?: Parameters): Promise<any>;
  /** Empties the store, or makes it; `now` sets its clock, `seed` makes the ids of events repeatable. */
  reset(options?: { now?: string; seed?: number }): Promise<void>;
  /** Moves the clock of the store on, and returns its time. */
  advance(by: { seconds: number }): Promise<string>;
  /** Keeps a copy of the store, and returns its number. */
  snapshot(): Promise<number>;
  /** Makes the store what it was. */
  restore(snapshot: number): Promise<void>;
  /** Waits until a position is visible, and until groups have handled their events up to it, or all. A `Problem` says what is late. */
  wait(until: { position?: number; group?: string | string[]; timeoutSeconds?: number }): Promise<{ visible: number; groups: Record<string, any>[] }>;
  /** What happened in the store after an entry, in order; at most 1,000 entries. */
  timeline(options?: { after?: number }): Promise<TimelineEntry[]>;
  /** Makes the next append that matches the rule fail. Returns the number of the rule. */
  fail(fault: Fault, rule?: FaultRule): Promise<number>;
  /** Deletes the rules of faults. */
  heal(): Promise<void>;
  /** Removes the store from the server. */
  drop(): Promise<void>;
}

/** The server cannot be started. */
export class ServerError extends Error {}

/** A server on a free port of the loopback address, with the calls for tests. Every client of it can wipe every store of it. */
export class Server {
  private constructor();
  /** Starts a server, and waits until it listens. */
  static start(): Promise<Server>;
  readonly url: string;
  /** A client of the default store. */
  client(): Client;
  /** A client of the store of this name, which is empty. */
  namespace(name: string): Promise<Client>;
  /** Stops the server. */
  stop(): Promise<void>;
}

/** The server of this process, which the first call starts. It ends with the process. */
export function sharedServer(): Promise<Server>;
/** Stops the server of this process; the next call of `sharedServer` starts another. */
export function stopSharedServer(): Promise<void>;
/** Runs `body` with a store of its own on the server of this process, and removes the store afterwards. */
export function withStore<T>(body: (annals: Client) => T | Promise<T>): Promise<T>;
