// A page in a browser of this sandbox's server: node /home/playwright/sample-test.js
const assert = require("assert");
const { chromium } = require("playwright-core");

(async () => {
  const browser = await chromium.connect("ws://localhost:8081");
  try {
    const page = await browser.newPage();
    await page.setContent("<title>Inn</title><button onclick='document.title = 42'>Go</button>");
    await page.click("button");
    assert.equal(await page.title(), "42");
    console.log(`passed: Chromium ${browser.version()}`);
  } finally {
    await browser.close();
  }
})();
