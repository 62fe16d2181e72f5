// A mesh that lives: three services with sidecars and traffic, and one proxy that reports the worst that texts can hold.
//
//   node living.mjs URL

import assert from "node:assert/strict";

import { fits, open, picture, readable, refreshed, rows, run, says } from "./page.mjs";

const [url] = process.argv.slice(2);
/** What `dashboard.rs` has a proxy report. */
const HOSTILE = `<script>window.pwned=1</script>"'><img src=x onerror=window.pwned=1>`;

async function graph(page) {
  await says(page, ".node", /shop/);
  const nodes = await page.locator(".node").evaluateAll((all) => all.map((one) => one.dataset.service));
  for (const service of ["default/shop", "default/cart", "default/cart-next", "default/pay"]) assert.ok(nodes.includes(service), `${nodes}`);
  // Whoever calls stands left of whom it calls.
  const x = async (service) => Number(await page.locator(`.node[data-service="${service}"]`).getAttribute("data-x"));
  assert.ok(await x("default/shop") < await x("default/cart"));
  await says(page, ".label", /\d\/s · \d+(\.\d+)? %/);
  await says(page, ".label", /ms \/ /);
}

async function calls(page) {
  await page.waitForFunction(() => [...document.querySelectorAll('[data-table="calls"] tbody tr')].some((row) => row.textContent.includes("pay")));
  const all = await rows(page, "calls");
  const call = (to) => all.find((row) => row.From === "shop" && row.To.startsWith(to));
  const [cart, pay] = [call("cart:80"), call("pay:80")];
  assert.equal(cart.Success, "100 %");
  assert.match(cart.Rate, /^(\d+|\d\.\d)\/s$/);
  assert.match(cart.p50, /^\d+(\.\d)? ms$/);
  assert.match(cart.p99, /^\d+(\.\d)? ms$/);
  assert.match(cart.Counted, /^over \d+ s, by 1 proxy, \d+ s ago$/);
  assert.match(pay.Success, /^[45]\d %$/, "every second call to pay fails");
  const old = all.find((row) => row.From === "old");
  assert.equal(old.Rate, "–", "a proxy that does not count is no zero");
  assert.match(old.Counted, /no figures; last told \d+ s ago/);
}

async function sections(page) {
  await says(page, "#routes-body", /HTTPRoute[^]*cart:80[^]*90 %[^]*cart-next:80[^]*10 %/);
  const proxies = await rows(page, "proxies");
  const shop = proxies.find((row) => row.Service === "shop");
  assert.equal(shop.State, "current");
  assert.match(shop.Runs, /^release \d+$/);
  assert.equal(proxies[0].State, "quarantine", "the worst comes first");
  const [refusal] = await rows(page, "refusals");
  assert.equal(refusal["Refused, and why"], HOSTILE);
  assert.match(refusal.Quarantined, /abcdef012345/);
  const certificates = await rows(page, "certificates");
  for (const role of ["leaf", "root"]) {
    const one = certificates.find((row) => row.Role === role);
    assert.match(one.Left, /^\d+ (d|h|min)$/, role);
    assert.match(one.Until, /^\d{4}-\d\d-\d\d \d\d:\d\d UTC$/, role);
  }
  const failures = await rows(page, "failures");
  const own = failures.find((row) => row.Story.startsWith("GET pay/status/500 got 500"));
  assert.match(own.Reason, /upstream_status/, "a sidecar tells of what failed");
  const failure = failures.find((row) => row.Story === HOSTILE);
  assert.equal(failure.Request, HOSTILE);
  assert.match(failure.Reason, /no_route/);
  await says(page, '[data-table="revisions"]', /the first push/);
  for (const id of ["sum", "calls", "failures-body", "refusals-body", "routes-body", "versions-body"]) {
    await says(page, `#${id} .age`, /\d+ (s|min|h|d) ago/);
  }
}

/** What proxies say is text, everywhere. */
async function harmless(page) {
  await page.locator("#failures-body").getByText("<script>").first().waitFor();
  assert.equal(await page.evaluate(() => window.pwned), undefined);
  assert.equal(await page.locator("main script, main img, main iframe, main a[href^=javascript]").count(), 0);
  const policy = await page.evaluate(async () => {
    const script = document.createElement("script");
    script.textContent = "window.inline = 1";
    document.head.append(script);
    return window.inline;
  });
  assert.equal(policy, undefined, "the policy lets a script in the page run");
}

async function keyboard(page) {
  const focus = () => page.evaluate(() => document.activeElement.dataset.service ?? document.activeElement.id);
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.className), "skip", "the first stop leads past the head");
  await page.keyboard.press("/");
  assert.equal(await focus(), "filter");
  await page.keyboard.type("pay");
  await says(page, '[data-table="calls"]', /pay/);
  assert.ok((await rows(page, "calls")).every((row) => `${row.From} ${row.To}`.includes("pay")));
  assert.equal(await page.locator('.node[data-service="default/cart-next"]').count(), 0);
  await page.keyboard.press("Control+a");
  await page.keyboard.press("Delete");
  await page.keyboard.press("Escape");
  await page.keyboard.press("g");
  const first = await focus();
  assert.match(first, /^default\//, "g leads into the graph");
  const seen = new Set([first]);
  for (const key of ["ArrowRight", "ArrowDown", "ArrowUp", "ArrowLeft", "ArrowDown", "ArrowRight"]) {
    await page.keyboard.press(key);
    seen.add(await focus());
  }
  assert.ok(seen.size >= 3, `arrows lead from service to service: ${[...seen]}`);
  const chosen = await focus();
  await page.keyboard.press("Enter");
  await says(page, "#chosen h3", new RegExp(`^${chosen}$`));
  await refreshed(page);
  await page.waitForTimeout(100);
  assert.equal(await focus(), chosen, "new figures leave the focus where it was");
  assert.equal(await page.locator("#chosen").isVisible(), true);
  await page.keyboard.press("Escape");
  assert.equal(await page.locator("#chosen").isVisible(), false);
  await page.keyboard.press("p");
  assert.equal(await page.locator("#pause").getAttribute("aria-pressed"), "true");
  await says(page, "#pulse", /paused, as of [2-9] s ago/);
  await page.keyboard.press("p");
  await says(page, "#pulse", /^as of \d s ago/);
}

/** Where services stand, of graphs that this mesh is not. */
async function layers(page) {
  const found = await page.evaluate(async () => {
    const { arrange } = await import("/dashboard/layers.js");
    const chain = Array.from({ length: 3000 }, (_, index) => `n${index}`);
    return {
      diamond: arrange(["a", "b", "c", "d", "x"], [["a", "b"], ["a", "c"], ["b", "d"], ["c", "d"], ["a", "d"], ["a", "nobody"]]),
      cycle: arrange(["a", "b", "c"], [["a", "b"], ["b", "c"], ["c", "a"], ["b", "b"]]),
      // a1 calls b2 and a2 calls b1: drawn in order of names, the lines would cross.
      crossed: arrange(["a1", "a2", "b1", "b2"], [["a1", "b2"], ["a2", "b1"]]),
      long: arrange(chain, chain.slice(1).map((name, index) => [chain[index], name])).layers.length,
      nothing: arrange([], []),
    };
  });
  assert.deepEqual(found.diamond, { layers: [["a"], ["b", "c"], ["d"]], alone: ["x"] });
  assert.equal(found.cycle.layers.length, 3);
  const [callers, called] = found.crossed.layers;
  assert.equal(callers.indexOf("a1") < callers.indexOf("a2"), called.indexOf("b2") < called.indexOf("b1"));
  assert.equal(found.long, 3000);
  assert.deepEqual(found.nothing, { layers: [], alone: [] });
}

await run(async () => {
  // The harmless test tries what the policy forbids, and Chromium says so.
  const { page, complaints } = await open(url);
  await graph(page);
  await calls(page);
  await sections(page);
  await keyboard(page);
  await layers(page);
  await fits(page);
  await readable(page);
  await picture(page, "light");
  assert.deepEqual(complaints, []);
  await harmless(page);
  assert.ok(complaints.some((text) => text.includes("Content Security Policy")), "nobody complained of the script in the page");

  for (const [name, options] of [
    ["dark", { colorScheme: "dark" }],
    ["narrow", { viewport: { width: 400, height: 800 } }],
    ["narrow-dark", { viewport: { width: 400, height: 800 }, colorScheme: "dark" }],
  ]) {
    const { page: other, complaints } = await open(url, options);
    await says(other, ".label", /\d\/s/);
    await says(other, "#failures-body", /no_route/);
    await fits(other);
    await readable(other);
    const paper = await other.evaluate(() => getComputedStyle(document.body).backgroundColor);
    const bright = Number(paper.match(/\d+/)[0]) > 128;
    assert.equal(bright, !name.includes("dark"), `${name}: ${paper}`);
    await picture(other, name);
    assert.deepEqual(complaints, [], name);
  }
});
