// Opens every page in a browser, in both themes, and works with it as a person does. `.ci/browser` runs it.
//
//   node pages.mjs URL SCREENSHOTS CHROMIUM GUARDED TOKEN MOUNTED
//
// The server at URL has the test API, and a log with conversations. The one at GUARDED answers to TOKEN alone, which may append. The one at MOUNTED is the example `program`. The pages are looked at by eye too: SCREENSHOTS has one of each.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { chromium } from "playwright-core";

const [url, folder, program, guarded, token, mounted] = process.argv.slice(2);
const options = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const HOSTILE = `"><img src=x onerror="window.hit=1"><script>window.hit=1</script>\u202e`;

const browser = await chromium.launch({ executablePath: program, args: options });
const faults = [];

/** A page whose requests go to `host`. Messages of the console are faults, unless they are `expected`. */
async function open(colorScheme, host = url, expected = /^$/) {
  const context = await browser.newContext({ colorScheme, viewport: { width: 1280, height: 900 } });
  const page = await context.newPage();
  page.on("console", (message) => { if (["error", "warning"].includes(message.type()) && !expected.test(message.text())) faults.push(message.text()); });
  page.on("pageerror", (error) => faults.push(error.message));
  // What a page saves has an address within the browser.
  page.on("request", (request) => { if (![`${host}/`, `blob:${host}/`].some((own) => request.url().startsWith(own))) faults.push(`off the host: ${request.url()}`); });
  return page;
}

async function visit(page, path, host = url) {
  await page.goto(host + path);
  await page.waitForSelector("#main h1");
  assert.equal(await page.locator(".problem").count(), 0, path);
}

/** Sends a request as a program does. */
async function call(method, target, body) {
  const sent = { method, headers: { "Content-Type": "application/json" }, body: body === undefined ? undefined : JSON.stringify(body) };
  const answer = await fetch(target, sent);
  assert.ok(answer.ok, `${method} ${target}: ${answer.status}`);
  return answer.json();
}

const append = async (namespace, id, event) => {
  const target = `${url}/v1/ns/${namespace}/streams/${encodeURIComponent(id)}/events?aggregateType=Thing`;
  const answer = await fetch(target, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(event) });
  assert.equal(answer.status, 201, await answer.text());
};

for (const theme of ["light", "dark"]) {
  const page = await open(theme);
  for (const name of ["", "events", "streams", "statistics", "storage"]) {
    await visit(page, `/ui/${name}`);
    await page.screenshot({ path: `${folder}/${name || "home"}-${theme}.png` });
  }

  // From an event to its conversation and its aggregate.
  await visit(page, "/ui/events");
  await page.locator("tbody tr").first().locator("td.number a").first().click();
  await page.waitForSelector("dl");
  await page.screenshot({ path: `${folder}/event-${theme}.png` });
  await page.locator("dd a[href*='/ui/traces/']").first().click();
  await page.waitForSelector(".lane");
  // Each event of a lane leads to its page.
  const marks = await page.locator(".lanes a[href*='/ui/events/']").count();
  assert.equal(marks, await page.locator("tbody tr").count());
  await page.screenshot({ path: `${folder}/trace-${theme}.png` });
  await page.locator("td.name a").first().click();
  await page.waitForSelector("input[type=range]");
  await page.screenshot({ path: `${folder}/stream-${theme}.png` });
  await page.locator("input[type=range]").evaluate((slider) => { slider.value = slider.min; slider.dispatchEvent(new Event("input")); });
  assert.equal(await page.locator("tbody tr:visible").count(), 1);

  // A bar of the trend leads to its events; a filter is added, and removed by its chip.
  await visit(page, "/ui/statistics");
  await page.locator("svg a").first().click();
  await page.waitForURL(/since=/);
  await page.waitForSelector(".chip");
  await page.locator(".chip").first().click();
  await page.waitForURL((at) => !at.searchParams.has("since"));
  await page.selectOption("select[aria-label=Filter]", "text");
  await page.fill("input[aria-label='Value of the filter']", "zzz-nothing-has-this");
  await page.keyboard.press("Enter");
  await page.waitForSelector("text=No event matches.");

  // A cell of the heatmap leads to the events that it counts, also beside another filter.
  await visit(page, "/ui/statistics");
  const cells = page.locator("svg a[href*='hour=']");
  const counts = await cells.evaluateAll((all) => all.map((cell) => Number(cell.textContent.split(": ")[1].replaceAll(",", ""))));
  const few = counts.indexOf(Math.min(...counts));
  const [, day, hour] = /hour=(\d)-(\d+)/.exec(await cells.nth(few).getAttribute("href"));
  await cells.nth(few).click();
  await page.waitForSelector(".chip");
  const found = await page.locator("tbody time").evaluateAll((all) => all.map((time) => time.dateTime));
  assert.equal(found.length, Math.min(100, counts[few]));
  for (const at of found.map((text) => new Date(text))) assert.deepEqual([(at.getUTCDay() + 6) % 7, at.getUTCHours()], [Number(day), Number(hour)]);
  await page.screenshot({ path: `${folder}/hour-${theme}.png` });
  await page.locator("td.type a").first().evaluate((link) => { location.href = `${location.href}&eventType=${encodeURIComponent(link.textContent)}`; });
  await page.waitForFunction(() => document.querySelectorAll(".chip").length === 2);
  const types = await page.locator("tbody td.type").allTextContents();
  assert.ok(types.length > 0 && types.length <= found.length && new Set(types).size === 1);
  await page.locator(".chip").first().click();
  await page.waitForURL((at) => !at.searchParams.has("hour") && at.searchParams.has("eventType"));
  await page.context().close();
}

// Keys.
const page = await open("light");
await visit(page, "/ui/");
await page.keyboard.press("g");
await page.keyboard.press("s");
await page.waitForURL(/\/ui\/streams/);
await page.waitForSelector("tbody tr");
await page.keyboard.press("j");
assert.equal(await page.evaluate(() => document.activeElement.closest("tr")?.rowIndex), 1);
await page.keyboard.press("/");
assert.equal(await page.evaluate(() => document.activeElement.name), "text");

// Hostile names and payloads are texts. A live view shows what is appended, and pauses.
const event = { eventType: HOSTILE, eventData: { [HOSTILE]: HOSTILE }, metadata: { userId: HOSTILE, correlationId: HOSTILE }, tags: [HOSTILE] };
await append("browser", HOSTILE, event);
for (const path of ["", "events", "events/1", "streams", "statistics", `streams/${encodeURIComponent(HOSTILE)}`, `traces/${encodeURIComponent(HOSTILE)}`]) await visit(page, `/ui/${path}?ns=browser`);
assert.equal(await page.evaluate(() => window.hit), undefined);
await visit(page, "/ui/events?ns=browser");
const live = page.locator("button[aria-pressed]");
await Promise.all([page.waitForResponse(/\/tail/), live.click()]);
for (let number = 0; number < 500; number += 1) await append("browser", "live", { eventType: "Came", eventData: number });
// What was there before is not new.
await page.waitForFunction(() => document.querySelector(".tools [role=status]").textContent === "500 new");
const rows = await page.locator("tbody tr").count();
assert.ok(rows > 1 && rows <= 300, `${rows} rows`);
await live.click();
await append("browser", "live", { eventType: "Later" });
assert.equal(await page.locator("text=Later").count(), 0);

// A server with tokens: the pages ask for one, and downloads send it.
const bearer = { Authorization: `Bearer ${token}` };
const secret = { eventType: "Guarded", eventData: { amount: "73314510714175488" } };
const kept = await fetch(`${guarded}/v1/streams/safe/events?aggregateType=Thing`, { method: "POST", headers: { ...bearer, "Content-Type": "application/json" }, body: JSON.stringify(secret) });
assert.equal(kept.status, 201);
const secured = await open("light", guarded, /status of 401/);
for (const [path, target] of [["/ui/events", "/v1/events?order=-position&limit=1000"], ["/ui/events/1", "/v1/events/1"]]) {
  await secured.goto(guarded + path);
  await secured.waitForSelector("input[name=token], #main h1");
  if (await secured.locator("input[name=token]").count() === 1) {
    await secured.fill("input[name=token]", token);
    await secured.keyboard.press("Enter");
  }
  const [saved] = await Promise.all([secured.waitForEvent("download"), secured.click("a[download]")]);
  const answer = await fetch(guarded + target, { headers: bearer });
  assert.equal(await readFile(await saved.path(), "utf8"), await answer.text(), path);
}
// A token that is no longer valid is said, not saved.
await secured.evaluate(() => sessionStorage.setItem("annals-token", "another-0123456789"));
await secured.click("a[download]");
await secured.waitForSelector("text=the token is unknown");
// Without tokens, the link is followed as it is.
await visit(page, "/ui/events");
const [plain] = await Promise.all([page.waitForEvent("download"), page.click("a[download]")]);
assert.equal(plain.suggestedFilename(), "events.json");

// Groups: an event that a consumer could not handle, for a hostile reason, is delivered again, and discarded.
const groups = `${url}/v1/ns/browser-groups/groups/mail`;
await append("browser-groups", HOSTILE, { eventType: HOSTILE });
await call("PUT", groups, { leaseSeconds: 60 });
const park = async () => {
  const { events } = await call("POST", `${groups}/take`);
  await call("POST", `${groups}/nack`, { leases: events.map(({ lease }) => lease), action: "park", reason: HOSTILE });
};
await park();
for (const theme of ["light", "dark"]) {
  const shown = await open(theme);
  for (const [name, path] of [["groups", "groups"], ["group", "groups/mail"], ["dead-letters", "dead-letters"]]) {
    await visit(shown, `/ui/${path}?ns=browser-groups`);
    await shown.screenshot({ path: `${folder}/${name}-${theme}.png` });
  }
  assert.equal(await shown.locator("td.reason").textContent(), HOSTILE);
  await shown.context().close();
}
await visit(page, "/ui/groups/mail?ns=browser-groups");
await page.click("tbody >> text=Deliver again");
await page.waitForSelector("text=1 to be delivered again");
await park();
await page.click("text=Refresh");
await page.click("text=Discard");
await page.click("text=Discard for ever?");
await page.waitForSelector("text=There is no dead letter.");
await visit(page, "/ui/dead-letters?ns=browser-groups");
await page.waitForSelector("text=every event was handled");

// Processors of a program: pause, resume, retry and discard.
for (const theme of ["light", "dark"]) {
  const shown = await open(theme, mounted);
  for (const [name, path] of [["processors", "processors"], ["processor", "processors/mailer"], ["letters", "dead-letters"], ["sagas", "sagas"], ["saga", "sagas/Shipping?stuck=true"], ["state", "streams/order-1"]]) {
    await visit(shown, `/ui/${path}`, mounted);
    await shown.screenshot({ path: `${folder}/${name}-${theme}.png` });
  }
  await shown.context().close();
}
const control = await open("light", mounted);
await visit(control, "/ui/", mounted);
await control.waitForSelector("nav >> text=Processors");
assert.equal(await control.locator("nav >> text=Test console").count(), 0);
await control.click("nav >> text=Processors");
await control.click("tr:has-text('mailer') >> text=Pause");
await control.waitForSelector(".state >> text=paused");
await control.click("text=Resume");
await control.waitForSelector("tr:has-text('mailer') >> button >> text=Pause");
await control.click("td.name >> text=mailer");
await control.waitForSelector("text=3 in all");
await control.click("tbody >> text=Retry >> nth=0");
// What the program says is a text.
await control.waitForSelector("text=1 left: the <b>mail server</b> refuses");
await control.click("text=Discard >> nth=0");
await control.click("text=Discard for ever?");
await control.waitForSelector("text=2 in all");

// The state that the program folds, and what each event changed.
await visit(control, "/ui/streams/order-1", mounted);
const state = control.locator("section:has(h2:text-is('State'))");
await state.locator("h3 >> text=Changed by version 2").waitFor();
assert.deepEqual(await state.locator("tbody tr").allTextContents(), ['/status"placed""paid"', '/history/1"it is <b>paid</b>"']);
await control.locator("input[type=range]").focus();
await control.keyboard.press("Home");
await state.locator("h3 >> text=Changed by version 1").waitFor();
assert.deepEqual(await state.locator("tbody tr").allTextContents(), ['/status"new""placed"', '/history/0"it is <b>placed</b>"']);

// A stuck saga is abandoned, and one is retried.
await control.click("nav >> text=Sagas");
await control.click("td.number a");
await control.waitForSelector("text=3 in all");
assert.ok((await control.locator(".state.bad").first().textContent()).includes("the <b>carrier</b> is away"));
await control.fill("section:has-text('order-2') >> input[name=reason]", HOSTILE);
await control.click("section:has-text('order-2') >> text=Abandon");
await control.waitForFunction(() => ![...document.querySelectorAll("h2")].some((heading) => heading.textContent === "order-2"));
const [again] = await Promise.all([control.waitForResponse(/\/order-1\/retry$/), control.click("section:has-text('order-1') >> text=Retry")]);
assert.equal((await again.json()).changed, true);
assert.equal(await control.evaluate(() => window.hit), undefined);

// The test console: a namespace is reset, its clock moved, a fault added; the timeline has all of it.
await append("browser-test", HOSTILE, { eventType: HOSTILE });
const lab = await open("light", url, /status of 404/);
await visit(lab, "/ui/test?ns=browser-test");
await lab.fill("input[name=now] >> nth=0", "2026-01-31T12:00:00Z");
await lab.click("text=Reset: empty it");
await lab.waitForSelector("text=and stands still");
await lab.fill("input[name=seconds]", "90");
await lab.click("text=Advance");
await lab.waitForSelector("time >> text=2026-01-31 12:01:30 >> nth=0");
await lab.selectOption("select[name=fault]", "unavailable");
await lab.fill("input[name=aggregateId]", HOSTILE);
await lab.click("text=Add");
await lab.waitForSelector("td >> text=unavailable");
const refused = await fetch(`${url}/v1/ns/browser-test/streams/${encodeURIComponent(HOSTILE)}/events?aggregateType=Thing`, { method: "POST", headers: { "Content-Type": "application/json" }, body: '{"eventType":"X"}' });
assert.deepEqual([refused.status, refused.headers.get("annals-fault")], [503, "unavailable; rule=1"]);
await append("browser-test", HOSTILE, { eventType: HOSTILE });
await lab.click("text=Refresh");
await lab.waitForFunction(() => document.querySelectorAll("tbody tr td:nth-child(3)").length >= 5);
const happened = await lab.locator("h2:has-text('Timeline') ~ .scroll tbody tr td:nth-child(3)").allTextContents();
assert.deepEqual(happened, ["appended", "reset", "clock", "fault", "appended"]);
await lab.screenshot({ path: `${folder}/test-light.png`, fullPage: true });
// What the server refuses is said beside the button.
await lab.fill("input[name=snapshot]", "99");
await lab.click("text=Restore");
await lab.waitForSelector("text=the namespace has no snapshot '99'");
const night = await open("dark");
await visit(night, "/ui/test?ns=browser-test");
await night.screenshot({ path: `${folder}/test-dark.png`, fullPage: true });
for (const shown of [page, lab, night]) assert.equal(await shown.evaluate(() => window.hit), undefined);

await browser.close();
assert.deepEqual(faults, []);
console.log(`every page works; screenshots in ${folder}`);
