// Parts that are away: nothing was pushed and nobody reports; then the store goes; then the control plane.
//
//   node parts.mjs empty URL
//   node parts.mjs store URL FOLDER PROCESS    after a push: moves the store's folder away, then kills the control plane

import assert from "node:assert/strict";
import { renameSync } from "node:fs";

import { fits, open, picture, run, says } from "./page.mjs";

const [part, url, folder, control] = process.argv.slice(2);

async function empty() {
  const { page, complaints } = await open(url);
  await says(page, "#sum", /none yet[^]*nothing is published/);
  await says(page, "#graph", /No services yet/);
  for (const id of ["calls", "failures-body", "refusals-body", "versions-body"]) await says(page, `#${id}`, /No proxy reports here/);
  await says(page, "#certificates-body", /No proxy that reports here has an identity/);
  await says(page, "#routes-body", /Nothing has been pushed yet/);
  await says(page, "#sum", /Proxies–none reports here/);
  await fits(page);
  await picture(page, "empty");
  assert.deepEqual(complaints, []);
}

async function store() {
  const { page } = await open(url);
  await says(page, "#routes-body", /HTTPRoute/);
  await says(page, '[data-table="revisions"]', /the first push/);
  renameSync(folder, `${folder}-away`);
  await says(page, "#troubles", /The store last took a heartbeat \d+ s ago/);
  // What the control plane knows it goes on telling.
  await says(page, "#routes-body", /HTTPRoute/);
  await page.reload();
  await says(page, "#versions-body", /The store's history can't be read: /);
  await says(page, "#routes-body", /HTTPRoute/);
  await picture(page, "store-away");

  process.kill(Number(control), "SIGKILL");
  await says(page, "#troubles", /The control plane does not answer: it can't be reached[^]*What you see is from \d+ s ago/);
  assert.equal(await page.locator("#main.stale").count(), 1);
  await says(page, "#pulse", /as of ([5-9]|\d\d) s ago/);
  await says(page, "#routes-body", /HTTPRoute/);
  // Shown again, a figure is not younger: all of them tell the same time.
  const seconds = async (selector) => Number((await page.locator(selector).first().textContent()).match(/(\d+) s ago/)[1]);
  const [heartbeat, above] = [await seconds("#sum .figure .age"), await seconds("#troubles .trouble:last-child .age")];
  assert.ok(Math.abs(heartbeat - above) <= 1, `${heartbeat} s and ${above} s`);
  await picture(page, "control-plane-away");
}

await run(part === "empty" ? empty : store);
