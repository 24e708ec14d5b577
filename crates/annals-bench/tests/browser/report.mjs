// Opens reports of `annals bench` in a browser, in both themes, and prints them. `.ci/browser` runs it.
//
//   node report.mjs SCREENSHOTS CHROMIUM REPORT...
//
// The reports are looked at by eye too: SCREENSHOTS has one of each theme, and the PDF.

import assert from "node:assert/strict";
import { basename, dirname } from "node:path";
import { pathToFileURL } from "node:url";
import { chromium } from "playwright-core";

const [folder, program, ...reports] = process.argv.slice(2);
const options = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];

const browser = await chromium.launch({ executablePath: program, args: options });
const faults = [];

/** The report in a theme. Every message of its console is a fault, and so is every request for anything but itself. */
async function open(report, colorScheme) {
  const url = pathToFileURL(report).href;
  const context = await browser.newContext({ colorScheme, viewport: { width: 1280, height: 900 } });
  const page = await context.newPage();
  page.on("console", (message) => faults.push(`${report}: ${message.text()}`));
  page.on("pageerror", (error) => faults.push(`${report}: ${error.message}`));
  page.on("request", (request) => { if (request.url() !== url) faults.push(`${report}: asks for ${request.url()}`); });
  await page.goto(url);
  return page;
}

/** The figures whose picture is empty or wider than the page, or whose data table has no row. */
const broken = (figures) => figures.filter((figure) => {
  const picture = figure.querySelector("svg[role=img]").getBoundingClientRect();
  const isDrawn = picture.height > 0 && picture.right <= document.documentElement.clientWidth;
  return !isDrawn || figure.querySelectorAll("details tbody tr").length === 0;
}).map((figure) => figure.querySelector("figcaption").textContent);

for (const report of reports) {
  const name = basename(dirname(report));
  const grounds = [];
  for (const theme of ["light", "dark"]) {
    const page = await open(report, theme);
    assert.equal(await page.locator("h1").textContent(), "annals bench");
    assert.ok(await page.locator("figure").count() > 0, `${report} has no chart`);
    assert.deepEqual(await page.locator("figure").evaluateAll(broken), []);
    const wide = await page.evaluate(() => document.documentElement.scrollWidth > document.documentElement.clientWidth);
    assert.ok(!wide, `${report} is wider than the window`);
    grounds.push(await page.evaluate(() => getComputedStyle(document.body).backgroundColor));
    await page.screenshot({ path: `${folder}/bench-${name}-${theme}.png`, fullPage: true });

    // A data table opens by a click.
    const data = page.locator("figure details").first();
    await data.locator("summary").click();
    assert.ok(await data.locator("table").isVisible());

    if (theme === "light") {
      const printed = await page.pdf({ path: `${folder}/bench-${name}.pdf`, preferCSSPageSize: true });
      assert.equal(printed.subarray(0, 5).toString("latin1"), "%PDF-");
      const pages = printed.toString("latin1").match(/\/Type\s*\/Page\b/g) ?? [];
      assert.ok(pages.length > 1, `${report} was printed on ${pages.length} pages`);
    }
    await page.context().close();
  }
  assert.notEqual(grounds[0], grounds[1], `${report} has one theme`);
}

await browser.close();
assert.deepEqual(faults, []);
console.log(`every report works; screenshots in ${folder}`);
