// A browser, and what is expected of every page in it.

import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

/** Until what is waited for must be there: the page asks every 5 s. */
export const PATIENCE_MS = 30_000;

const { chromium } = createRequire(join(process.env.OUTRIGGER_TEST_PLAYWRIGHT, "package.json"))("playwright-core");
const browser = await chromium.launch({
  executablePath: process.env.OUTRIGGER_TEST_CHROMIUM,
  // Tests may run as root, which has no sandbox; what is loaded is ours.
  args: ["--no-sandbox", "--disable-gpu"],
});

/**
 * A page at `url`. Whatever it complains of is kept in `complaints`; `expected` are complaints that belong to the test.
 */
export async function open(url, { expected = [], ...options } = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE_MS);
  const complaints = [];
  const complain = (text) => {
    if (!expected.some((pattern) => pattern.test(text))) complaints.push(text);
  };
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && complain(`${message.type()}: ${message.text()}`));
  page.on("pageerror", (error) => complain(`uncaught: ${error.stack}`));
  page.on("request", (request) => {
    if (new URL(request.url()).origin !== new URL(url).origin) complain(`asked ${request.url()}, which is elsewhere`);
  });
  page.on("dialog", (dialog) => {
    complain(`dialog: ${dialog.message()}`);
    dialog.dismiss();
  });
  await page.goto(url);
  return { page, complaints };
}

/** Saves a picture for people; nothing compares it. */
export async function picture(page, name) {
  const folder = process.env.OUTRIGGER_TEST_PICTURES;
  mkdirSync(folder, { recursive: true });
  await page.screenshot({ path: join(folder, `${name}.png`), fullPage: true });
}

/** Waits until the element's text matches. */
export async function says(page, selector, pattern) {
  let text = "";
  try {
    await page.waitForFunction(([selector, source, flags]) => {
      const found = [...document.querySelectorAll(selector)].map((one) => one.textContent).join("\n");
      return new RegExp(source, flags).test(found);
    }, [selector, pattern.source, pattern.flags]);
  } catch (error) {
    text = await page.locator(selector).allTextContents().catch(() => "");
    throw new Error(`${selector} does not say ${pattern}, but: ${text}`, { cause: error });
  }
}

/** The rows of a table, each as an object by column. */
export async function rows(page, table) {
  return page.locator(`[data-table="${table}"] tbody tr`).evaluateAll((all) =>
    all.map((row) => Object.fromEntries([...row.cells].map((cell) => [cell.dataset.label, cell.textContent]))));
}

/** Nothing is wider than the window: a page that scrolls sideways can't be read with one hand. */
export async function fits(page) {
  const [wide, room] = await page.evaluate(() => [document.scrollingElement.scrollWidth, innerWidth]);
  const culprits = await page.evaluate(() => [...document.querySelectorAll("main *")]
    .filter((one) => one.getBoundingClientRect().right > innerWidth + 1 && !one.closest(".canvas, .rows"))
    .slice(0, 5).map((one) => `${one.tagName} ${one.className} ${one.textContent.slice(0, 40)}`));
  assert.ok(wide <= room, `${wide} px in ${room}: ${culprits.join("; ")}`);
}

/** Text can be read: its contrast is at least 4.5 to 1 (WCAG 2.2, 1.4.3). */
export async function readable(page) {
  const poor = await page.evaluate(() => {
    const parse = (text) => text.match(/[\d.]+/g).map(Number);
    const light = ([r, g, b]) => [r, g, b].map((value) => value / 255)
      .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4))
      .reduce((sum, value, index) => sum + value * [0.2126, 0.7152, 0.0722][index], 0);
    const behind = (one) => {
      for (let at = one; at; at = at.parentElement) {
        const [r, g, b, alpha = 1] = parse(getComputedStyle(at).backgroundColor);
        if (alpha > 0) return [r, g, b];
      }
      return [255, 255, 255];
    };
    return [...document.querySelectorAll("header *, main *:not(svg *), footer *")]
      .filter((one) => [...one.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim()) && one.checkVisibility())
      .map((one) => {
        const [a, b] = [light(parse(getComputedStyle(one).color)), light(behind(one))].sort((x, y) => y - x);
        return [one, (a + 0.05) / (b + 0.05)];
      })
      .filter(([, contrast]) => contrast < 4.5)
      .map(([one, contrast]) => `${one.tagName}.${one.className} ${contrast.toFixed(1)}: ${one.textContent.slice(0, 30)}`);
  });
  assert.deepEqual(poor, []);
}

/** The last figures came before now; waits for the next ones. */
export async function refreshed(page) {
  await page.waitForResponse((response) => response.url().endsWith("/v1/overview"));
}

/** Runs `test`, whatever comes of it the browser ends. */
export async function run(test) {
  try {
    await test();
  } catch (error) {
    console.error(error);
    process.exitCode = 1;
  } finally {
    await browser.close();
  }
}
