// Everything but the drawing: figures in sum, and a table or a list for each section.

import { age, el, nothing, since, span, table } from "./dom.js";
import { badge, date, latency, left, percent, plural, rate, short } from "./words.js";

/** Tables of which all rows are wanted. */
export const shown = new Set();

const contains = (filter, ...texts) => !filter || texts.some((text) => String(text ?? "").toLowerCase().includes(filter));

/** Tells that the filter leaves none of those that there are. */
const filtered = (all, what) => nothing(all.length === 0 ? what : "Nothing here contains what the filter asks for.");

const leftOut = (count, what) => count > 0 && el("p", { class: "legend" }, `${plural(count, "more", "more")} ${what} not listed here.`);

const noReports = () => nothing("No proxy reports here. Start proxies with ", el("code", {}, "--report URL"), " of this control plane.");

export function sum(overview) {
  const { coverage, revision, release, now_unix_ms: now } = overview;
  const card = (name, figure, mood, ...note) =>
    el("div", {}, el("dt", {}, name), el("dd", { class: `figure ${mood ?? ""}` }, figure), el("dd", { class: "note" }, note));
  const heard = coverage.reporting + coverage.silent > 0;
  const oldest = Math.max(0, ...overview.proxies.filter((proxy) => proxy.state !== "silent").map((proxy) => proxy.age_ms));
  const troubled = coverage.refusing + coverage.quarantining + coverage.without_plan;
  const ends = overview.certificates.find((one) => one.role !== "none");
  return el("dl", {},
    card("Revision", revision ? revision.revision : "none yet", null,
      revision ? [revision.author || "nobody named", ", ", age(now - revision.time_unix_ms)] : "push with outrigger apply"),
    card("Release", release ? release.release : "none yet", release?.rejected ? "bad" : null,
      release ? [release.rejected && "rejected, ", `of revision ${release.revision}, `, age(now - release.time_unix_ms)] : "nothing is published"),
    card("Heartbeat", overview.heartbeat_age_ms == null ? "–" : age(overview.heartbeat_age_ms), overview.ready ? "good" : "bad",
      overview.ready ? "the store takes what is published" : "see above"),
    card("Proxies", heard ? coverage.reporting : "–", null,
      heard ? [`${coverage.current} current, ${coverage.behind} behind, ${coverage.silent} silent; told `, age(oldest)] : "none reports here"),
    card("In trouble", heard ? troubled : "–", troubled > 0 ? "bad" : null,
      heard ? `${coverage.refusing} refusing, ${coverage.quarantining} quarantined, ${coverage.without_plan} without a plan` : "nobody says"),
    card("Next certificate ends", ends ? left(ends) : "–", null, ends ? ends.who : "no identity is reported"));
}

export function calls(overview, filter) {
  if (overview.coverage.reporting + overview.coverage.silent === 0) return noReports();
  const rows = overview.edges.filter((edge) => contains(filter, edge.from, edge.to));
  if (rows.length === 0) return filtered(overview.edges, "No calls were reported in the last ten minutes.");
  const carries = ({ figures: it }) => it && it.open + it.connections > 0;
  const figures = (of) => (edge) => (edge.figures ? of(edge.figures) : "–");
  const columns = [
    { name: "From", of: (edge) => short(edge.from) },
    { name: "To", of: (edge) => `${short(edge.to)}${edge.ports.length > 0 ? `:${edge.ports.join(",")}` : ""}` },
    { name: "Rate", kind: "number", of: figures(rate) },
    { name: "Success", kind: "number", of: figures((it) => percent(it.success)) },
    { name: "p50", kind: "number", of: figures((it) => latency(it.p50)) },
    { name: "p99", kind: "number", of: figures((it) => latency(it.p99)) },
    { name: "Connections", kind: "number", wanted: rows.some(carries), of: figures((it) => (it.open + it.connections > 0 ? `${it.open} open, ${it.connections} ended` : "")) },
    {
      name: "Counted",
      of: (edge) => (edge.figures
        ? [`over ${span(edge.figures.window_ms)}, by ${plural(edge.figures.proxies, "proxy", "proxies")}, `, age(edge.figures.age_ms)]
        : ["no figures; last told ", age(edge.heard_age_ms)]),
    },
  ];
  return [
    table("calls", "As the callers' proxies count; a failure is a status of 500 or more, a call of gRPC that failed, or no answer.", columns.filter((column) => column.wanted !== false), rows, shown),
    leftOut(overview.left_out.edges, "calls are"),
    leftOut(overview.left_out.traffic, "called clusters had no room in the reports and are"),
  ];
}

export function failures(overview, filter) {
  const { now_unix_ms: now } = overview;
  const rows = overview.failures.filter(({ failure, at_service, node }) =>
    contains(filter, at_service, node, failure.id, failure.reason, failure.sentence, failure.service, failure.route));
  if (rows.length === 0) {
    if (overview.coverage.reporting + overview.coverage.silent === 0) return noReports();
    return filtered(overview.failures, "No proxy that reports here tells of a failure.");
  }
  const columns = [
    { name: "When", kind: "brief", of: ({ failure }) => age(Math.max(0, now - failure.at_unix_ms)) },
    { name: "Reason", of: ({ failure }) => el("code", {}, failure.reason) },
    { name: "Story", kind: "wide", of: ({ failure }) => failure.sentence || "The proxy does not say more." },
    { name: "Called", of: ({ failure }) => [short(failure.service) || "–", failure.route && el("span", { class: "soft" }, ` by ${failure.route}`)].filter(Boolean) },
    { name: "At", of: ({ at_service, node, age_ms }) => [`${short(at_service)} (${node}), told `, age(age_ms)] },
    { name: "Request", of: ({ failure }) => el("code", {}, failure.id) },
  ];
  return [table("failures", "The newest first; each proxy tells of its last few.", columns, rows, shown), leftOut(overview.left_out.failures, "failures are")];
}

export function refusals(overview, filter) {
  const rows = overview.proxies.filter((proxy) => (proxy.last_refusal || proxy.quarantined.length > 0)
    && contains(filter, proxy.service, proxy.node, proxy.last_refusal, ...proxy.quarantined));
  if (rows.length === 0) {
    if (overview.coverage.reporting + overview.coverage.silent === 0) return noReports();
    return nothing(filter ? "None that contains what the filter asks for." : "No proxy that reports here refuses anything, or has anything in quarantine.");
  }
  const columns = [
    { name: "Proxy", of: (proxy) => `${short(proxy.service)} (${proxy.node})` },
    { name: "State", of: (proxy) => badge(proxy.state) },
    { name: "Runs", kind: "number", of: (proxy) => proxy.running?.n ?? "nothing" },
    { name: "Refused, and why", kind: "wide", of: (proxy) => proxy.last_refusal ?? "–" },
    { name: "Quarantined", kind: "wide", of: (proxy) => proxy.quarantined.map((digest) => [el("code", { title: digest }, digest.slice(0, 12)), " "]) },
    { name: "Refusals", kind: "number", of: (proxy) => proxy.refusals },
    { name: "Told", kind: "brief", of: (proxy) => age(proxy.age_ms) },
  ];
  return table("refusals", "A refused snapshot changes nothing; a quarantined digest is not run any more.", columns, rows, shown);
}

export function routes(overview, filter) {
  const services = (route) => route.rules.flatMap((rule) => rule.backends.map((backend) => backend.service));
  const some = overview.routes.filter((route) => contains(filter, route.name, route.kind, ...route.parents, ...route.hosts, ...services(route)));
  if (!overview.revision) return nothing("Nothing has been pushed yet.");
  if (some.length === 0) return filtered(overview.routes, "There are no routes: each service is called as it is.");
  return [
    el("p", { class: "legend" }, `As revision ${overview.revision.revision} has them, pushed `, age(overview.now_unix_ms - overview.revision.time_unix_ms), "."),
    some.map((route) => el("article", { class: "route" },
      el("h3", {}, short(route.name), " ", el("span", { class: "soft" }, route.kind)),
      el("p", { class: "soft" }, `on ${route.parents.join(", ") || "nothing"}`, route.hosts.length > 0 && `, for ${route.hosts.join(", ")}`),
      route.rules.map(rule),
      leftOut(route.rules_left_out, "rules are"))),
    leftOut(overview.left_out.routes, "routes are"),
  ];
}

function rule({ matches, filters, backends }) {
  const asked = matches.length > 0 ? matches.map((match, index) => [index > 0 && " or ", el("code", {}, match || "anything")]) : "anything";
  return el("div", { class: "rule" },
    el("div", {}, asked, filters.length > 0 && el("span", { class: "soft" }, ` · ${filters.join(", ")}`)),
    backends.length === 0 && el("p", { class: "soft" }, filters.length > 0 ? "answered by its filters" : "sends requests nowhere"),
    backends.map((backend) => el("div", { class: "split" },
      el("span", {}, `${short(backend.service)}${backend.port == null ? "" : `:${backend.port}`}`),
      el("progress", { max: 1, value: backend.share, "aria-label": `share of ${backend.service}` }),
      el("span", {}, percent(backend.share)))));
}

export function versions(overview, history, filter) {
  const { releases, proxies, now_unix_ms: now } = overview;
  const runs = releases.map((release) => el("li", {},
    `release ${release.n}`, release.newest ? " (the newest)" : "", `: ${plural(release.proxies, "proxy", "proxies")}`));
  const rows = proxies.filter((proxy) => contains(filter, proxy.service, proxy.node, proxy.version, proxy.state));
  const columns = [
    { name: "Service", of: (proxy) => short(proxy.service) },
    { name: "Node", of: (proxy) => proxy.node },
    { name: "State", of: (proxy) => badge(proxy.state) },
    { name: "Runs", kind: "number", of: (proxy) => (proxy.running ? `release ${proxy.running.n}` : "nothing") },
    { name: "Since", of: (proxy) => (proxy.since_unix_ms > 0 ? age(Math.max(0, now - proxy.since_unix_ms)) : "–") },
    { name: "Program", of: (proxy) => proxy.version },
    { name: "Told", kind: "brief", of: (proxy) => age(proxy.age_ms) },
  ];
  return [
    overview.coverage.reporting + overview.coverage.silent === 0 ? noReports() : [
      releases.length > 0 && el("ul", {}, runs),
      leftOut(overview.left_out.releases, "releases are"),
      rows.length > 0 ? table("proxies", "Proxies, the worst first.", columns, rows, shown) : filtered(proxies, "No proxy has a plan."),
      leftOut(overview.left_out.proxies, "proxies are"),
    ],
    el("h3", {}, "Revisions"),
    revisions(history, now),
  ];
}

/** The newest revisions are read from the store, which may be away. */
function revisions(history, now) {
  const columns = [
    { name: "Revision", kind: "number", of: (one) => one.revision },
    { name: "By", of: (one) => one.author || "–" },
    { name: "Why", kind: "wide", of: (one) => one.message || "–" },
    { name: "Resources", kind: "number", of: (one) => one.resources },
    { name: "Pushed", of: (one) => age(Math.max(0, now - one.time_unix_ms)) },
  ];
  const list = history.list?.length > 0
    ? table("revisions", ["Read from the store ", since(history.at)], columns, history.list, shown)
    : history.list && nothing("Nothing has been pushed yet.");
  return [history.problem && el("p", { class: "trouble mild" }, `The store's history can't be read: ${history.problem}`), list];
}

export function certificates(overview, filter) {
  const rows = overview.certificates.filter((one) => contains(filter, one.who, one.role, one.serial, one.trouble));
  const trouble = overview.authority_trouble && el("p", { class: "trouble" }, `No certificates can be made: ${overview.authority_trouble}`);
  if (rows.length === 0) return [trouble, filtered(overview.certificates, "No proxy that reports here has an identity, and this control plane makes no certificates.")];
  const columns = [
    { name: "Left", kind: "brief", of: left },
    { name: "Until", of: (one) => (one.role === "none" ? "–" : date(one.until_unix * 1000)) },
    { name: "Role", kind: "brief", of: (one) => one.role },
    { name: "Whose", kind: "wide", of: (one) => one.who },
    { name: "Renewal", of: (one) => renewal(one, overview.now_unix_ms) },
    { name: "At its end", kind: "wide", of: (one) => one.breaks },
  ];
  return [trouble, table("certificates", "What ends first on top.", columns, rows, shown), leftOut(overview.left_out.certificates, "certificates are")];
}

function renewal(one, now) {
  if (one.trouble) return el("span", { class: "bad" }, `FAILS: ${one.trouble}`);
  if (one.renewal_unix == null) return one.role === "server" ? "by itself" : "by hand";
  const wait = one.renewal_unix * 1000 - now;
  return wait > 0 ? `in ${span(wait)}` : "due";
}

