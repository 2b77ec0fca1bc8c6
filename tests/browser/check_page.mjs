// Opens a report.html in a headless Chromium, in both themes and at phone width, and fails on: a console message, a
// request to anywhere, a finding of axe-core, a page wider than its window, something that the keyboard does not reach.
// It leaves screenshots and a print (PDF) to be looked at. Outside the test suite, for it needs a browser:
//
//   npm install --no-save playwright-core axe-core
//   node tests/browser/check_page.mjs PAGE.html FOLDER [BROWSER]      (default browser: /usr/bin/chromium)

import { createRequire } from "node:module";
import { mkdirSync, readFileSync } from "node:fs";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";

const load = createRequire(resolve("package.json")); // from where it is called, so that nothing is installed here
const { chromium } = load("playwright-core");
const axe = readFileSync(load.resolve("axe-core/axe.min.js"), "utf-8");
const [page_, folder, browserPath = "/usr/bin/chromium"] = process.argv.slice(2);
mkdirSync(folder, { recursive: true });

const VIEWS = [
  { name: "light", colorScheme: "light", viewport: { width: 1280, height: 900 } },
  { name: "dark", colorScheme: "dark", viewport: { width: 1280, height: 900 } },
  { name: "phone-light", colorScheme: "light", viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true },
  { name: "phone-dark", colorScheme: "dark", viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true },
];
const faults = [];

const browser = await chromium.launch({ executablePath: browserPath, args: ["--no-sandbox"] });
for (const { name, ...view } of VIEWS) {
  const context = await browser.newContext({ ...view, bypassCSP: true }); // axe is a script; the page itself allows none
  const page = await context.newPage();
  page.on("console", (message) => faults.push(`${name}: console ${message.type()}: ${message.text()}`));
  page.on("pageerror", (error) => faults.push(`${name}: ${error}`));
  page.on("dialog", (dialog) => { faults.push(`${name}: dialog ${dialog.message()}`); dialog.dismiss(); });
  page.on("request", (request) => {
    if (!/^(data:|file:)/.test(request.url())) faults.push(`${name}: request to ${request.url()}`);
    if (/^file:/.test(request.url()) && !request.isNavigationRequest()) faults.push(`${name}: reads ${request.url()}`);
  });
  await page.goto(pathToFileURL(resolve(page_)).href);
  await page.waitForLoadState("networkidle");
  const broken = await page.$$eval("img", (all) => all.filter((img) => !img.naturalWidth || !img.alt).length);
  if (broken) faults.push(`${name}: ${broken} pictures without content or alternative text`);
  const over = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  if (over > 0) faults.push(`${name}: the page is ${over} px wider than its window`);
  await keyboard(page, name);
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  for (const found of violations) {
    faults.push(`${name}: axe ${found.impact} ${found.id}: ${found.help} (${found.nodes.length}; ${found.nodes[0].html.slice(0, 120)})`);
  }
  await page.screenshot({ path: `${folder}/${name}.png`, fullPage: true });
  if (name === "light") await page.pdf({ path: `${folder}/print.pdf`, format: "A4", printBackground: false });
  await context.close();
}
await browser.close();

async function keyboard(page, name) {
  const wanted = await page.$$eval("a[href], [tabindex='0']", (all) => all.length);
  const reached = new Set();
  for (let at = 0; at < wanted; at += 1) {
    await page.keyboard.press("Tab");
    reached.add(await page.evaluate(() => {
      const all = [...document.querySelectorAll("a[href], [tabindex='0']")];
      return all.indexOf(document.activeElement);
    }));
  }
  reached.delete(-1);
  if (reached.size < wanted) faults.push(`${name}: the keyboard reaches ${reached.size} of ${wanted} links and regions`);
  await page.evaluate(() => { document.activeElement.blur(); window.scrollTo(0, 0); });
}

for (const fault of faults) console.log(fault);
console.log(faults.length ? `${faults.length} faults` : "no fault");
process.exit(faults.length ? 1 : 0);
