// Figures as words, and what they are to be worried about.

import { el, span } from "./dom.js";

/** Below this share of success an edge is in trouble; below the second it may be. */
const BAD = 0.95;
const WARN = 0.995;

/** Without the namespace that need not be said. */
export function short(service) {
  return service.startsWith("default/") ? service.slice("default/".length) : service;
}

export function rate(figures) {
  const { rate: perSecond, requests } = figures;
  if (requests === 0) return "0/s";
  if (perSecond < 0.1) return "< 0.1/s";
  return `${perSecond < 10 ? perSecond.toFixed(1) : Math.round(perSecond).toLocaleString("en-GB")}/s`;
}

/** Rounded down: what is not 100 % never looks like it. */
export function percent(share) {
  if (share == null) return "–";
  const scale = 10 ** (share < 0.9 ? 0 : share < 0.999 ? 1 : 2);
  return `${Math.floor(share * 100 * scale + 1e-9) / scale} %`;
}

export function latency(quantile) {
  if (quantile == null) return "–";
  const { ms, beyond } = quantile;
  const text = ms >= 1000 ? `${(ms / 1000).toFixed(1)} s` : `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;
  return beyond ? `> ${text}` : text;
}

/** How an edge does: `good`, `warn`, `bad`, `idle` or `unheard`. */
export function mood(figures) {
  if (!figures) return "unheard";
  if (figures.requests === 0) return figures.connections + figures.open > 0 ? "good" : "idle";
  return figures.success < BAD ? "bad" : figures.success < WARN ? "warn" : "good";
}

/** An edge in one line. */
export function line(figures) {
  if (!figures) return "called, no figures";
  if (figures.requests > 0) {
    return `${rate(figures)} · ${percent(figures.success)} · ${latency(figures.p50)} / ${latency(figures.p99)}`;
  }
  if (figures.open + figures.connections > 0) return `${figures.open} open connections`;
  return "idle";
}

/** What is left of a certificate. */
export function left(certificate) {
  if (certificate.role === "none") return el("span", { class: "bad" }, "none yet");
  if (certificate.left_s <= 0) return el("span", { class: "bad" }, "OVER");
  const mood = certificate.left_s < 86400 ? "warn" : null;
  return el("span", { class: mood }, span(certificate.left_s * 1000));
}

/** A point of time, to the minute, in UTC. */
export function date(unixMs) {
  return unixMs > 0 ? `${new Date(unixMs).toISOString().slice(0, 16).replace("T", " ")} UTC` : "–";
}

export function plural(count, one, many = `${one}s`) {
  return `${count.toLocaleString("en-GB")} ${count === 1 ? one : many}`;
}

/** States of a proxy, in the words of `outrigger status`. */
export const STATES = {
  quarantine: ["quarantine", "bad"],
  refusing: ["refusing", "bad"],
  without_plan: ["without a plan", "bad"],
  silent: ["silent", "warn"],
  behind: ["behind", "warn"],
  current: ["current", "good"],
};

export function badge(state) {
  const [text, mood] = STATES[state] ?? [state, "soft"];
  return el("span", { class: `badge ${mood}` }, text);
}
