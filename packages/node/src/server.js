"use strict";

const { spawn } = require("node:child_process");
const { existsSync } = require("node:fs");
const path = require("node:path");

const { Client } = require("./client.js");

/** Milliseconds until a server that does not say where it listens has failed, and until one that should stop is killed. */
const PATIENCE = 60_000;
/** Characters of what a server says that are kept. */
const SAID_MAX = 16_384;

/** The server cannot be started. */
class ServerError extends Error {
  constructor(message) {
    super(message);
    this.name = "ServerError";
  }
}

/** The path of the program: of `ANNALS_PROGRAM`, of this package, or on the `PATH`. */
function program() {
  const name = process.platform === "win32" ? "annals.exe" : "annals";
  const folders = (process.env.PATH ?? "").split(path.delimiter).filter((folder) => folder !== "");
  const places = [path.join(__dirname, "..", "bin"), ...folders].map((folder) => path.join(folder, name));
  const found = process.env.ANNALS_PROGRAM || places.find((place) => existsSync(place));
  if (found === undefined) {
    throw new ServerError("the program annals is not found: set ANNALS_PROGRAM to its path, or put it on the PATH");
  }
  return found;
}

/** A server on a free port of the loopback address, with the calls for tests. Every client of it can wipe every store of it. */
class Server {
  #child;
  #ended;
  #kill;

  constructor(child, url) {
    this.url = url;
    this.#child = child;
    this.#ended = child.exitCode === null && child.signalCode === null ? new Promise((resolve) => child.once("close", resolve)) : Promise.resolve();
    // The process need not wait for its server, and takes it along when it ends. Where it is killed, the end of the pipe does.
    this.#kill = () => child.kill();
    process.once("exit", this.#kill);
    for (const part of parts(child)) part.unref();
  }

  /** Starts a server, and waits until it listens. */
  static async start() {
    const command = program();
    // A server for tests must not wipe the store that the environment names.
    const { ANNALS_STORE: _, ...env } = process.env;
    const child = spawn(command, ["serve", "--test-api", "--until-stdin-ends", "--port", "0", "--format", "json"], { env, stdio: "pipe" });
    // Nothing is written to it; a server that has ended is noticed elsewhere.
    child.stdin.on("error", () => {});
    return new Server(child, await listening(child, command));
  }

  /** A client of the default store. */
  client() {
    return new Client(this.url);
  }

  /** A client of the store of this name, which is empty. */
  async namespace(name) {
    const store = new Client(this.url, { namespace: name });
    await store.reset();
    return store;
  }

  /** Stops the server. */
  async stop() {
    process.removeListener("exit", this.#kill);
    for (const part of parts(this.#child)) part.ref();
    this.#child.kill();
    const timer = setTimeout(() => this.#child.kill("SIGKILL"), PATIENCE);
    await this.#ended;
    clearTimeout(timer);
  }

  async [Symbol.asyncDispose ?? Symbol.for("Symbol.asyncDispose")]() {
    await this.stop();
  }
}

/** What keeps the process from ending. */
function parts(child) {
  return [child, child.stdin, child.stdout, child.stderr];
}

/** Reads the one line that says where the server listens. What it says later is read and dropped, so that it never waits for a reader. */
function listening(child, command) {
  return new Promise((resolve, reject) => {
    let line = "";
    let said = "";
    const timer = setTimeout(() => child.kill("SIGKILL"), PATIENCE);
    const settle = (settled, value) => {
      clearTimeout(timer);
      settled(value);
    };
    child.on("error", (error) => settle(reject, new ServerError(`${command} cannot be started: ${error.message}`)));
    child.on("close", () => settle(reject, new ServerError(`annals serve has failed: ${said.trim() || "it has said nothing"}`)));
    child.stderr.setEncoding("utf8").on("data", (text) => (said = (said + text).slice(-SAID_MAX)));
    child.stdout.setEncoding("utf8").on("data", (text) => {
      line = (line + text).slice(0, SAID_MAX);
      const url = line.includes("\n") && urlOf(line);
      if (url) settle(resolve, url);
      else if (line.includes("\n") || line.length === SAID_MAX) child.kill("SIGKILL");
    });
  });
}

function urlOf(line) {
  try {
    return JSON.parse(line.split("\n", 1)[0]).url;
  } catch {
    return undefined;
  }
}

let shared;
let stores = 0;

/** The server of this process, which the first call starts. It ends with the process. */
function sharedServer() {
  if (shared === undefined) {
    const started = Server.start();
    shared = started;
    // The next call tries again.
    started.catch(() => {
      if (shared === started) shared = undefined;
    });
  }
  return shared;
}

/** Stops the server of this process; the next call of `sharedServer` starts another. */
async function stopSharedServer() {
  const stopped = shared;
  shared = undefined;
  await (await stopped)?.stop();
}

/** An empty store on the server of this process, under a name that no other has. */
async function newStore() {
  // Before the wait, during which another test may ask for its store.
  const name = `test-${process.pid}-${++stores}`;
  return (await sharedServer()).namespace(name);
}

/** Runs `body` with a store of its own, which is removed afterwards. */
async function withStore(body) {
  const store = await newStore();
  try {
    return await body(store);
  } finally {
    await store.drop();
  }
}

module.exports = { Server, ServerError, newStore, sharedServer, stopSharedServer, withStore };
