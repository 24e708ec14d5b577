// Opens every page in a browser, in both themes, and works with it as a person does. `.ci/browser` runs it.
//
//   node pages.mjs URL SCREENSHOTS CHROMIUM GUARDED TOKEN
//
// The server at URL has the test API, and a log with conversations. The one at GUARDED answers to TOKEN alone, which may append. The pages are looked at by eye too: SCREENSHOTS has one of each.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { chromium } from "playwright-core";

const [url, folder, program, guarded, token] = process.argv.slice(2);
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

async function visit(page, path) {
  await page.goto(url + path);
  await page.waitForSelector("#main h1");
  assert.equal(await page.locator(".problem").count(), 0, path);
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

await browser.close();
assert.deepEqual(faults, []);
console.log(`every page works; screenshots in ${folder}`);
