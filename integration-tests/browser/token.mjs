// A control plane with a token: the page asks for it, shows nothing without it, and forgets it when told to.
//
//   node token.mjs URL TOKEN

import assert from "node:assert/strict";

import { fits, open, picture, run, says } from "./page.mjs";

const [url, token] = process.argv.slice(2);

await run(async () => {
  const { page, complaints } = await open(url, { expected: [/401 \(Unauthorized\)/], viewport: { width: 400, height: 800 } });
  await page.locator("#door").waitFor();
  assert.equal(await page.evaluate(() => document.activeElement.id), "token");
  assert.equal(await page.locator("#main").isVisible(), false);
  assert.doesNotMatch(await page.locator("body").innerText(), /cart|store/);
  await fits(page);
  await picture(page, "token");
  await page.keyboard.type("not the token at all");
  await page.keyboard.press("Enter");
  await says(page, "#wrong", /This is not the token/);
  assert.equal(await page.locator("#main").isVisible(), false);
  await page.locator("#token").fill(token);
  await page.keyboard.press("Enter");
  await says(page, "#routes-body", /HTTPRoute/);
  assert.equal(await page.locator("#door").isVisible(), false);
  assert.doesNotMatch(page.url(), /token|0123/i, "a token in an address stays in histories and logs");

  // It stays with the tab, and with nobody else.
  await page.reload();
  await says(page, "#routes-body", /HTTPRoute/);
  assert.equal(await page.evaluate(() => localStorage.length + document.cookie.length), 0);
  await page.locator("#forget").click();
  await page.locator("#door").waitFor();
  assert.equal(await page.locator("#main").isVisible(), false);
  assert.doesNotMatch(await page.content(), /HTTPRoute|default\/cart/);
  assert.equal(await page.evaluate(() => sessionStorage.length), 0);
  assert.deepEqual(complaints, []);
});
