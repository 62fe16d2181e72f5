// The page: asks, shows, and says how old what it shows is.

import { NoAnswer, ask, remember, token } from "./ask.js";
import { asOf, el, replace, since, tick } from "./dom.js";
import * as graph from "./graph.js";
import * as tables from "./tables.js";

const REFRESH_MS = 5_000;
/** So often the history is read again that could not be read: it comes from the store, which others need. */
const HISTORY_AGAIN_MS = 30_000;
const HISTORY_MAX = 10;

const at = (id) => document.getElementById(id);
const state = {
  overview: null,
  /** When it came, by this machine's clock. */
  overviewAt: 0,
  /** Why no newer one came. */
  problem: null,
  history: { list: null, at: 0, of: null, problem: null, asked: 0 },
  paused: false,
  filter: "",
};
let timer = null;
/** Of answers that cross, the last that was asked for counts. */
let round = 0;

async function refresh() {
  clearTimeout(timer);
  round += 1;
  const own = round;
  try {
    const overview = await ask("/v1/overview");
    if (own !== round) return;
    Object.assign(state, { overview, overviewAt: Date.now(), problem: null });
    showDoor(null);
    await readHistory();
  } catch (error) {
    if (own !== round) return;
    if (!(error instanceof NoAnswer)) throw error;
    if (error.kind === "token") showDoor(token() ? error.message : "");
    state.problem = error;
  }
  if (own !== round) return;
  show();
  if (!state.paused && state.problem?.kind !== "token") timer = setTimeout(refresh, REFRESH_MS);
}

/** The newest revisions, once for each. */
async function readHistory() {
  const { overview, history } = state;
  const of = overview.revision ? `${overview.revision.epoch}/${overview.revision.revision}` : "none";
  const known = history.of === of && history.problem == null;
  if (known || Date.now() - history.asked < (history.problem ? HISTORY_AGAIN_MS : 0)) return;
  history.asked = Date.now();
  try {
    const { revisions } = await ask(`/v1/history?limit=${HISTORY_MAX}`);
    Object.assign(history, { list: revisions, at: Date.now(), of, problem: null });
  } catch (error) {
    if (!(error instanceof NoAnswer)) throw error;
    history.problem = error.message;
  }
}

function show() {
  const { overview, problem, filter } = state;
  showTroubles();
  at("main").hidden = overview == null || problem?.kind === "token";
  at("main").classList.toggle("stale", problem != null);
  at("forget").hidden = !token();
  at("pulse").replaceChildren(pulse());
  at("tools").hidden = at("sections").hidden = at("main").hidden;
  if (overview == null || at("main").hidden) return;
  asOf(state.overviewAt);
  at("about").textContent = [overview.mesh ? `mesh ${overview.mesh}` : "no mesh yet", overview.store, `version ${overview.version}`].join(" · ");
  replace(at("sum"), tables.sum(overview));
  if (at("graph") == null) at("mesh-body").replaceChildren(el("div", { id: "graph" }), el("div", { id: "calls" }));
  if (!at("graph").dataset.heard) {
    at("graph").dataset.heard = "yes";
    graph.listen(at("graph"));
  }
  graph.draw(at("graph"), overview, filter);
  replace(at("calls"), tables.calls(overview, filter));
  replace(at("failures-body"), tables.failures(overview, filter));
  replace(at("refusals-body"), tables.refusals(overview, filter));
  replace(at("routes-body"), tables.routes(overview, filter));
  replace(at("versions-body"), tables.versions(overview, state.history, filter));
  replace(at("certificates-body"), tables.certificates(overview, filter));
}

/** Those that are shown already stay: what is put into an alert is read aloud again. */
function showTroubles() {
  const { overview, problem } = state;
  const key = JSON.stringify([problem?.kind, problem?.message, overview?.trouble]);
  if (at("troubles").dataset.said === key) return;
  at("troubles").dataset.said = key;
  replace(at("troubles"), troubles());
}

/** What stands between the reader and figures that are true now. */
function troubles() {
  const { overview, problem } = state;
  const said = [];
  const trouble = (...content) => said.push(el("p", { class: "trouble" }, content));
  if (problem?.kind === "away") {
    trouble(`The control plane does not answer: ${problem.message}. `, overview
      ? ["What you see is from ", since(state.overviewAt), ". "] : "",
      "Traffic does not need it; ", el("code", {}, "outrigger status STORE"), " reads the store without it.");
  } else if (problem?.kind === "failed") {
    trouble(`The control plane can't say: ${problem.message}`);
  }
  if (overview && problem?.kind !== "token" && overview.trouble) {
    trouble(overview.trouble[0].toUpperCase(), overview.trouble.slice(1), overview.heartbeat_age_ms != null && [". The store last took a heartbeat ", since(state.overviewAt - overview.heartbeat_age_ms),
      "; what is told of it here is as old"], ".");
  }
  return said;
}

function pulse() {
  if (state.overview == null) return state.problem ? "no figures" : "Asking the control plane…";
  return el("span", {}, state.paused ? "paused, " : "", "as of ", since(state.overviewAt));
}

/** Asks for the token, or no longer. */
function showDoor(wrong) {
  const was = at("door").hidden;
  at("door").hidden = wrong == null;
  at("wrong").textContent = wrong ?? "";
  if (wrong != null && was) at("token").focus();
}

at("door").addEventListener("submit", (event) => {
  event.preventDefault();
  remember(at("token").value.trim());
  at("token").value = "";
  refresh();
});

at("forget").addEventListener("click", () => {
  remember(null);
  Object.assign(state, { overview: null, history: { list: null, at: 0, of: null, problem: null, asked: 0 } });
  for (const part of document.querySelectorAll("#sum, #mesh-body, #main [id$=-body]")) part.replaceChildren();
  at("about").textContent = "";
  refresh();
});

function pause(paused) {
  state.paused = paused;
  at("pause").setAttribute("aria-pressed", String(paused));
  clearTimeout(timer);
  if (paused) show();
  else refresh();
}

at("pause").addEventListener("click", () => pause(!state.paused));

at("filter").addEventListener("input", () => {
  state.filter = at("filter").value.trim().toLowerCase();
  show();
});

at("main").addEventListener("click", (event) => {
  const key = event.target.dataset?.more;
  if (key == null) return;
  tables.shown.add(key);
  show();
});

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const typing = event.target.matches?.("input");
  if (event.key === "Escape") {
    if (typing) event.target.blur();
    graph.letGo();
  } else if (!typing && !at("main").hidden) {
    if (event.key === "/") at("filter").focus();
    else if (event.key === "g" && at("graph")) graph.enter(at("graph"));
    else if (event.key === "p") pause(!state.paused);
    else return;
    event.preventDefault();
  }
});

// A page that nobody looks at asks for nothing.
document.addEventListener("visibilitychange", () => {
  if (document.hidden) clearTimeout(timer);
  else if (!state.paused) refresh();
});

let drawnAt = window.innerWidth;
window.addEventListener("resize", () => {
  if (window.innerWidth === drawnAt) return;
  drawnAt = window.innerWidth;
  show();
});

setInterval(tick, 1_000);
refresh();
