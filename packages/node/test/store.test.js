"use strict";

const assert = require("node:assert/strict");
const { execFileSync, spawnSync } = require("node:child_process");
const { readFileSync } = require("node:fs");
const net = require("node:net");
const path = require("node:path");
const test = require("node:test");

const { Client, Conflict, Problem, Server, ServerError, Unreachable, sharedServer, withStore } = require("annals-store");
const { annals } = require("annals-store/node-test");

const PACKAGE = path.join(__dirname, "..");

async function all(events) {
  const found = [];
  for await (const event of events) found.push(event);
  return found;
}

const types = async (events) => (await all(events)).map((event) => event.eventType);

function place(store, order = "order-1", options = {}) {
  return store.append(order, { eventType: "OrderPlaced", eventData: { total: 1 } }, { aggregateType: "Order", ...options });
}

test("what is appended is read", async (t) => {
  const store = await annals(t);
  assert.equal((await place(store, "order-1", { expected: "none" })).lastVersion, 1);
  await store.append("order-1", [{ eventType: "OrderPaid" }, { eventType: "OrderSent", tags: ["a", "b"] }], { expected: 1 });
  assert.deepEqual(await types(store.stream("order-1")), ["OrderPlaced", "OrderPaid", "OrderSent"]);
  assert.equal(await store.count({ eventType: ["OrderPaid", "OrderSent"], user: undefined }), 2);
  assert.deepEqual((await store.event(3)).tags, ["a", "b"]);
  assert.equal((await store.get("/statistics")).total, 3);
});

test("a conflict has the actual version", async (t) => {
  const store = await annals(t);
  await place(store);
  const refused = await place(store, "order-1", { expected: "none" }).catch((error) => error);
  assert(refused instanceof Conflict && refused instanceof Problem);
  assert.deepEqual([refused.name, refused.actual, refused.type, refused.status], ["Conflict", 1, "version-conflict", 409]);
  assert.equal(await store.count(), 1);
});

test("faults strike, and the timeline tells", async (t) => {
  const store = await annals(t);
  const { number } = (await store.timeline()).at(-1) ?? { number: 0 };
  assert.equal(await store.fail("conflict", { aggregateId: "order-1", times: 2 }), 1);
  await assert.rejects(place(store), { name: "Conflict", actual: 0 });
  await store.heal();
  await place(store);
  assert.deepEqual((await store.timeline({ after: number })).map((entry) => entry.kind), ["fault", "appended"]);
});

test("a wait says what is late", async (t) => {
  const store = await annals(t);
  await place(store);
  assert.equal((await store.wait({ position: 1 })).visible, 1);
  await assert.rejects(store.wait({ position: 2, timeoutSeconds: 0 }), { status: 408, type: "not-reached" });
});

test("a refusal says why", async (t) => {
  const store = await annals(t);
  await assert.rejects(store.event(7), { name: "Problem", status: 404, type: "not-found" });
  await assert.rejects(all(store.events({ nonsense: 1 })), /nonsense/);
});

test("a key makes a repetition harmless", async (t) => {
  const store = await annals(t);
  const first = await place(store, "order-1", { idempotencyKey: "k-1" });
  const again = await place(store, "order-1", { idempotencyKey: "k-1" });
  assert.deepEqual([again.repeated, again.lastPosition], [true, first.lastPosition]);
  assert.equal(await store.count(), 1);
});

test("every page is read", async (t) => {
  const store = await annals(t);
  const numbers = [...Array(1000).keys()];
  await store.append("many", numbers.map((eventData) => ({ eventType: "Counted", eventData })), { aggregateType: "Thing" });
  assert.deepEqual((await all(store.events({ limit: 7 }))).map((event) => event.eventData), numbers);
  assert.deepEqual((await all(store.stream("many", { limit: 300 }))).map((event) => event.version - 1), numbers);
});

test("names may have any character", async (t) => {
  const store = await annals(t);
  const name = "a/b ?&#%ü\u202e\"<>+";
  await place(store, name);
  assert.deepEqual((await all(store.stream(name))).map((event) => event.aggregateId), [name]);
  assert.equal(await store.count({ aggregate: name }), 1);
});

test("calls run at the same time", async (t) => {
  const store = await annals(t);
  await Promise.all(Array.from({ length: 50 }, (_, number) => place(store, `order-${number}`, { expected: "none" })));
  assert.equal(await store.count(), 50);
});

test("the clock is set and moved", async (t) => {
  const store = await annals(t);
  await store.reset({ now: "2026-01-31T12:00:00Z", seed: 7 });
  await place(store);
  assert.equal(await store.advance({ seconds: 90 }), "2026-01-31T12:01:30Z");
  await place(store);
  const times = (await all(store.events())).map((event) => event.timestamp);
  assert.deepEqual(times, ["2026-01-31T12:00:00Z", "2026-01-31T12:01:30Z"]);
});

test("a snapshot is restored", async (t) => {
  const store = await annals(t);
  await place(store);
  const kept = await store.snapshot();
  await place(store);
  await store.restore(kept);
  assert.equal(await store.count(), 1);
});

test("several aggregates are all or none", async (t) => {
  const store = await annals(t);
  const appends = ["a", "b"].map((aggregateId) => ({ aggregateId, aggregateType: "Account", events: [{ eventType: "Moved" }] }));
  await store.appendAll(appends);
  await assert.rejects(store.appendAll([appends[0], { ...appends[1], expectedVersion: 7 }]), Conflict);
  const condition = { query: { filter: { eventType: "Moved" } }, after: 0 };
  await assert.rejects(store.appendAll(appends, { condition }), { type: "condition-failed" });
  assert.equal(await store.count(), 2);
});

test("a deleted aggregate has no events", async (t) => {
  const store = await annals(t);
  await place(store);
  await store.delete("order-1");
  assert.deepEqual(await all(store.stream("order-1")), []);
});

test("a store is removed behind its test, also behind one that failed", async () => {
  let kept;
  const failing = withStore(async (store) => {
    kept = store;
    await place(store);
    throw new Error("as the test wants");
  });
  await assert.rejects(failing, /as the test wants/);
  await assert.rejects(kept.count(), { type: "unknown-namespace" });
});

test("the server of a process is one, and each store its own", async (t) => {
  const [one, two] = await Promise.all([annals(t), annals(t)]);
  assert.equal(one.url, two.url);
  assert.equal((await sharedServer()).url, one.url);
  await place(one);
  assert.equal(await two.count(), 0);
});

test("the example of the README runs", () => {
  const readme = readFileSync(path.join(PACKAGE, "README.md"), "utf8");
  const example = readme.split("```js\n")[1].split("```")[0];
  const { NODE_TEST_CONTEXT: _, ...env } = process.env;
  const said = execFileSync(process.execPath, ["--input-type=module", "--eval", example], { cwd: PACKAGE, env, encoding: "utf8" });
  assert.match(said, /pass 1/);
});

test("a server stops, and its client says so", async () => {
  const server = await Server.start();
  assert.equal(await server.client().count(), 0);
  await server.stop();
  await assert.rejects(server.client().count(), Unreachable);
});

test("a server ends with its process", async () => {
  const script = 'require("annals-store").Server.start().then((server) => console.log(server.url))';
  const url = execFileSync(process.execPath, ["--eval", script], { cwd: PACKAGE, encoding: "utf8" }).trim();
  // The process has sent the signal; until it arrives, the server answers.
  while (await new Client(url).count().then(() => true, () => false));
  await assert.rejects(new Client(url).count(), Unreachable);
});

test("a killed process left its server behind", async () => {
  const script = `require("annals-store").Server.start().then(({ url }) => {
    require("node:fs").writeSync(1, url);
    process.kill(process.pid, "SIGKILL");
  })`;
  const { signal, stdout: url } = spawnSync(process.execPath, ["--eval", script], { cwd: PACKAGE, encoding: "utf8" });
  assert.deepEqual([signal, new URL(url).hostname], ["SIGKILL", "127.0.0.1"]);
  const deadline = Date.now() + 30_000;
  while (await new Client(url).count().then(() => true, () => false)) assert(Date.now() < deadline, `${url} still answers`);
  // The port is free: another can listen on it.
  const other = net.createServer();
  await new Promise((resolve, reject) => other.once("error", reject).listen(Number(new URL(url).port), "127.0.0.1", resolve));
  other.close();
});

test("a server that could not be started was never tried again", () => {
  const script = `
    const { sharedServer } = require("annals-store");
    const { ANNALS_PROGRAM: program } = process.env;
    process.env.ANNALS_PROGRAM = "/absent/annals";
    sharedServer().catch(async () => {
      process.env.ANNALS_PROGRAM = program;
      console.log(await (await sharedServer()).client().count());
    });`;
  const env = { ...process.env, ANNALS_PROGRAM: process.env.ANNALS_PROGRAM };
  const said = execFileSync(process.execPath, ["--eval", script], { cwd: PACKAGE, env, encoding: "utf8" });
  assert.equal(said.trim(), "0");
});

async function withEnvironment(variables, body) {
  const before = Object.fromEntries(Object.keys(variables).map((name) => [name, process.env[name]]));
  Object.assign(process.env, variables);
  try {
    return await body();
  } finally {
    for (const [name, value] of Object.entries(before)) {
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
    }
  }
}

test("a program that is not there is named", () =>
  withEnvironment({ ANNALS_PROGRAM: "/absent/annals" }, () => assert.rejects(Server.start(), /absent\/annals cannot be started/)));

test("a program that fails is heard", () =>
  withEnvironment({ ANNALS_PROGRAM: "false" }, () => assert.rejects(Server.start(), { name: "ServerError", message: /it has said nothing/ })));

test("a program that says something else is stopped", () =>
  withEnvironment({ ANNALS_PROGRAM: "yes" }, () => assert.rejects(Server.start(), ServerError)));

test("the store of the environment is not wiped", () =>
  withEnvironment({ ANNALS_STORE: "file:/absent" }, async () => {
    const server = await Server.start();
    assert.equal(await server.client().count(), 0);
    await server.stop();
  }));

test("an address that is none is refused", () => {
  for (const url of ["", "127.0.0.1:4280", "ftp://127.0.0.1", "http://"]) {
    assert.throws(() => new Client(url), /no URL/);
  }
});

function answer(text, status = "200 OK", more = "") {
  return `HTTP/1.1 ${status}\r\nContent-Length: ${Buffer.byteLength(text)}\r\n${more}Connection: close\r\n\r\n${text}`;
}

/** A client of a server that gives this answer to every connection, and then closes it. */
async function given(t, text, options = {}) {
  const server = net.createServer((socket) => socket.on("error", () => {}).once("data", () => text !== undefined && socket.end(text)));
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => server.close());
  return new Client(`http://127.0.0.1:${server.address().port}`, options);
}

test("an answer that was cut off was taken for a whole one", async (t) => {
  const store = await given(t, answer("{}").replace("Length: 2", "Length: 99"));
  await assert.rejects(store.append("a", { eventType: "X" }), Unreachable);
});

test("an answer that was no object broke the client", async (t) => {
  for (const status of ["200 OK", "404 Not Found"]) {
    for (const text of ["[1]", '"actualVersion"', "5", "null", "<html>", "[".repeat(200_000)]) {
      const store = await given(t, answer(text, status));
      const name = status.startsWith("2") ? "Unreachable" : "Problem";
      await assert.rejects(store.count(), { name, message: /no JSON object/ });
    }
  }
});

test("an append whose answer cannot be read was called refused", async (t) => {
  const store = await given(t, answer(""));
  await assert.rejects(store.append("a", { eventType: "X" }), Unreachable);
});

test("a refusal without a body has its status", async (t) => {
  for (const status of [500, 503]) {
    await assert.rejects((await given(t, answer("", `${status} Other`))).count(), { name: "Problem", status });
  }
});

test("a redirection got the token", async (t) => {
  let asked = 0;
  const other = net.createServer((socket) => {
    asked += 1;
    socket.destroy();
  });
  await new Promise((resolve) => other.listen(0, "127.0.0.1", resolve));
  t.after(() => other.close());
  const elsewhere = `Location: http://127.0.0.1:${other.address().port}/\r\n`;
  const store = await given(t, answer("", "307 Temporary Redirect", elsewhere), { token: "secret-secret-secret" });
  await assert.rejects(store.count(), { name: "Problem", status: 307 });
  assert.equal(asked, 0);
});

test("a server without an answer is waited for until the timeout", async (t) => {
  await assert.rejects((await given(t, undefined, { timeout: 1 })).count(), { name: "Unreachable", message: /timeout/ });
});
