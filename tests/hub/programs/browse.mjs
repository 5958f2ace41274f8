// Drives a browser of a sandbox by Playwright, as its clients do: WAY URL HEADERS, where WAY is a
// browser whose Playwright server is there, or `cdp`. Prints the browser's version, and what a page
// says after its button was clicked.
import { createRequire } from "node:module";

const [way, url, fields] = process.argv.slice(2);
const headers = JSON.parse(fields);
const playwright = createRequire(`${process.cwd()}/`)("playwright-core");

const browser =
  way === "cdp"
    ? await playwright.chromium.connectOverCDP(url, { headers })
    : await playwright[way].connect(url.replace(/^http/, "ws"), { headers });
try {
  const context = browser.contexts()[0] ?? (await browser.newContext());
  const page = await context.newPage();
  await page.goto("http://127.0.0.1:3000/");
  const shown = await page.evaluate(() => {
    document.querySelector("button").click();
    return document.querySelector("p").textContent;
  });
  console.log(browser.version(), shown);
} finally {
  await browser.close();
}
