// The mesh as a drawing: services as boxes, calls as lines. What it shows is also in the table below it.

import { age, el, find, nothing, replace, svg } from "./dom.js";
import { arrange } from "./layers.js";
import { latency, line, mood, percent, plural, rate, short } from "./words.js";

/** More services than this are no picture any more. */
const DRAWN_MAX = 60;
/** Services in a layer of a drawing that can be seen whole. */
const CENTRED_MAX = 8;
/** With more lines than this only those of the chosen service are labelled. */
const LABELLED_MAX = 40;
const WIDTH = 144, HEIGHT = 48, MARGIN = 28;
/** Between two layers, and between two services of one: lying, and standing on a narrow page. */
const LYING = { layer: WIDTH + 140, row: HEIGHT + 38 };
const STANDING = { layer: HEIGHT + 84, row: WIDTH + 20 };
const NAME_CHARACTERS_MAX = 17;
/** Labels stand nearer to the called: lines that come from one service have parted there. The weights of a Bézier curve's points. */
const NEAR = 0.6;
const LABEL = [(1 - NEAR) ** 3, 3 * NEAR * (1 - NEAR) ** 2, 3 * NEAR ** 2 * (1 - NEAR), NEAR ** 3];

let chosen = null;
let current = null;
/** The one service that Tab comes to; arrows go on from there. */
let reached = null;

/** Draws `overview` into `container`, as far as `filter` lets it. */
export function draw(container, overview, filter) {
  current = { container, overview, filter };
  const { nodes, edges, hidden } = visible(overview, filter);
  if (nodes.length === 0) {
    const why = filter ? "No service's name contains that." : "No services yet: push some with outrigger apply.";
    return replace(container, nothing(why));
  }
  if (!nodes.some((node) => node.service === chosen)) chosen = null;
  if (!nodes.some((node) => node.service === reached)) reached = nodes[0].service;
  const narrow = container.clientWidth > 0 && container.clientWidth < 640;
  const places = place(nodes, edges, narrow, container.clientWidth);
  replace(container,
    hidden > 0 && el("p", { class: "legend" }, `The ${nodes.length} busiest services are drawn; ${plural(hidden, "more is", "more are")} found by the filter.`),
    el("div", { class: "canvas", "data-scroll": true, "data-key": "canvas" }, picture(nodes, edges, places, narrow)),
    el("p", { class: "legend" }, "A line: requests a second, success, p50 / p99. Green is well, amber below 99.5 %, red below 95 %; broken lines are idle or not heard of."),
    el("div", { id: "chosen", hidden: chosen == null }, chosen && described(overview, chosen)));
}

/** Forgets what was chosen, if anything was. */
export function letGo() {
  if (chosen == null) return;
  chosen = null;
  draw(current.container, current.overview, current.filter);
}

/** Puts the focus into the graph. */
export function enter(container) {
  if (reached != null) find(container, `node ${reached}`)?.focus();
}

/** Clicks and keys, once and for all drawings. */
export function listen(container) {
  const choose = (node) => {
    const service = node.dataset.service;
    chosen = chosen === service ? null : service;
    reached = service;
    draw(current.container, current.overview, current.filter);
    find(container, `node ${service}`)?.focus({ preventScroll: true });
  };
  container.addEventListener("click", (event) => {
    const node = event.target.closest(".node");
    if (node) choose(node);
  });
  container.addEventListener("keydown", (event) => {
    const node = event.target.closest(".node");
    if (!node) return;
    if (event.key === "Enter" || event.key === " ") choose(node);
    else if (!event.key.startsWith("Arrow") || !move(container, node, event.key)) return;
    event.preventDefault();
  });
}

/** The nearest node that way gets the focus. */
function move(container, node, key) {
  const [x, y] = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] }[key];
  const at = (one) => [Number(one.dataset.x), Number(one.dataset.y)];
  const [fromX, fromY] = at(node);
  let nearest = null, least = Infinity;
  for (const other of container.querySelectorAll(".node")) {
    const [dx, dy] = [at(other)[0] - fromX, at(other)[1] - fromY];
    const along = dx * x + dy * y, aside = Math.abs(dx * y) + Math.abs(dy * x);
    if (other !== node && along > 0 && along + 2 * aside < least) [nearest, least] = [other, along + 2 * aside];
  }
  if (nearest) {
    node.setAttribute("tabindex", "-1");
    nearest.setAttribute("tabindex", "0");
    reached = nearest.dataset.service;
    nearest.focus();
    nearest.scrollIntoView({ block: "nearest", inline: "nearest" });
  }
  return nearest != null;
}

/** Services that the filter names, with those that they call and are called by. */
function visible(overview, filter) {
  const services = new Map(overview.services.map((service) => [service.service, service]));
  // There may have been no room for the ends of an edge.
  for (const end of overview.edges.flatMap((edge) => [edge.from, edge.to])) {
    if (!services.has(end)) services.set(end, { service: end, kind: "", proxies: 0, well: 0, silent: 0, served: null });
  }
  const named = (name) => name.toLowerCase().includes(filter);
  const edges = overview.edges.filter((edge) => !filter || named(edge.from) || named(edge.to));
  const ends = edges.flatMap((edge) => [edge.from, edge.to]);
  // What was asked for comes before its neighbours, the busiest before those that nobody calls.
  const asked = filter ? [...ends, ...services.keys()].filter(named) : [];
  const wanted = new Set([...asked, ...ends, ...(filter ? [] : services.keys())]);
  const drawn = new Set([...wanted].slice(0, DRAWN_MAX));
  return {
    nodes: [...drawn].map((name) => services.get(name)).sort((one, other) => (one.service < other.service ? -1 : 1)),
    edges: edges.filter((edge) => drawn.has(edge.from) && drawn.has(edge.to)),
    hidden: wanted.size - drawn.size,
  };
}

/** Where each service's box begins, and how large the drawing is. */
function place(nodes, edges, narrow, room) {
  const { layers, alone } = arrange(nodes.map((node) => node.service), edges.map((edge) => [edge.from, edge.to]));
  const gaps = narrow ? STANDING : LYING;
  const widest = Math.max(1, ...layers.map((layer) => layer.length));
  const at = new Map();
  let far = 0, wide = 0;
  const put = (name, x, y) => {
    at.set(name, [x, y]);
    [far, wide] = [Math.max(far, y + HEIGHT), Math.max(wide, x + WIDTH)];
  };
  layers.forEach((layer, depth) => layer.forEach((name, index) => {
    const along = MARGIN + depth * gaps.layer;
    // In the middle; in a drawing larger than the page that would be out of sight.
    const aside = MARGIN + (index + (widest <= CENTRED_MAX ? (widest - layer.length) / 2 : 0)) * gaps.row;
    if (narrow) put(name, aside, along);
    else put(name, along, aside);
  }));
  // Those that nobody calls stand below, in rows as wide as the page.
  const below = layers.length > 0 ? far + 2 * MARGIN : MARGIN;
  const across = WIDTH + 20;
  const columns = Math.max(1, Math.floor((Math.max(wide, room - 4) - MARGIN) / across));
  alone.forEach((name, index) => put(name, MARGIN + (index % columns) * across, below + Math.floor(index / columns) * (HEIGHT + 16)));
  return { at, width: wide + MARGIN, height: far + MARGIN };
}

function picture(nodes, edges, places, narrow) {
  const { at, width, height } = places;
  const few = edges.length <= LABELLED_MAX;
  const lines = [], labels = [];
  for (const edge of edges.filter(({ from, to }) => from !== to)) {
    const near = chosen == null || edge.from === chosen || edge.to === chosen;
    const [path, place, end, towards] = curve(at.get(edge.from), at.get(edge.to), narrow);
    lines.push(drawnEdge(edge, path, end, towards, near));
    if (near && (few || chosen != null)) labels.push(label(edge, place));
  }
  const boxes = nodes.map((node) => drawnNode(node, at.get(node.service)));
  return svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": "Services and their calls" }, lines, labels, boxes);
}

function drawnNode(node, [x, y]) {
  const reporting = node.proxies > 0;
  const state = !reporting ? "unheard" : node.well < node.proxies ? "ill" : "well";
  const name = short(node.service);
  const shown = name.length > NAME_CHARACTERS_MAX ? `${name.slice(0, NAME_CHARACTERS_MAX - 1)}…` : name;
  const below = reporting
    ? [plural(node.proxies, "proxy", "proxies"), node.served && node.served.requests > 0 && rate(node.served)].filter(Boolean).join(" · ")
    : node.silent > 0 ? "silent" : "no proxy reports";
  const attributes = {
    class: `node ${state}${chosen === node.service ? " chosen" : ""}`, role: "button", tabindex: reached === node.service ? "0" : "-1",
    "aria-pressed": String(chosen === node.service), "aria-label": `${node.service}: ${below}`,
    "data-service": node.service, "data-key": `node ${node.service}`, "data-x": x, "data-y": y,
    transform: `translate(${x} ${y})`,
  };
  return svg("g", attributes,
    svg("title", {}, node.service),
    svg("rect", { width: WIDTH, height: HEIGHT, rx: 7 }),
    svg("text", { x: 10, y: 20 }, shown),
    svg("text", { x: 10, y: 37, class: "small" }, below));
}

function drawnEdge(edge, path, [endX, endY], [dirX, dirY], near) {
  const { figures } = edge;
  const busy = figures ? Math.min(6, 1.5 + Math.log10(1 + figures.rate)) : 1.5;
  const tip = [[0, 0], [-9 * dirX + 4 * dirY, -9 * dirY + 4 * dirX], [-9 * dirX - 4 * dirY, -9 * dirY - 4 * dirX]];
  return svg("g", { class: `edge ${mood(figures)}${near ? "" : " far"}` },
    svg("title", {}, `${edge.from} calls ${edge.to}: ${line(figures)}`),
    svg("path", { d: path, "stroke-width": busy.toFixed(1) }),
    svg("polygon", { class: "tip", points: tip.map(([dx, dy]) => `${endX + dx},${endY + dy}`).join(" ") }));
}

function label({ figures }, [x, y]) {
  const words = figures && figures.requests > 0
    ? [`${rate(figures)} · ${percent(figures.success)}`, `${latency(figures.p50)} / ${latency(figures.p99)}`]
    : [line(figures)];
  const wide = Math.max(...words.map((text) => text.length)) * 6.1 + 6, high = words.length * 13 + 3;
  return svg("g", { class: `label ${mood(figures)}` },
    svg("rect", { x: x - wide / 2, y: y - high / 2, width: wide, height: high, rx: 4 }),
    svg("text", {}, words.map((text, index) => svg("tspan", { x, y: y - high / 2 + 12 + index * 13 }, text))));
}

/** The line from box to box: its path, the place of its label, its end and the way that it points there. */
function curve([fromX, fromY], [toX, toY], narrow) {
  const forward = narrow ? toY > fromY + HEIGHT : toX > fromX + WIDTH;
  let a, b, c, d;
  if (forward && narrow) {
    [a, d] = [[fromX + WIDTH / 2, fromY + HEIGHT], [toX + WIDTH / 2, toY]];
    const half = (d[1] - a[1]) / 2;
    [b, c] = [[a[0], a[1] + half], [d[0], d[1] - half]];
  } else if (forward) {
    [a, d] = [[fromX + WIDTH, fromY + HEIGHT / 2], [toX, toY + HEIGHT / 2]];
    const half = (d[0] - a[0]) / 2;
    [b, c] = [[a[0] + half, a[1]], [d[0] - half, d[1]]];
  } else {
    // Back to where calls come from: round below, or round the side.
    const bow = narrow ? [WIDTH, 0] : [0, HEIGHT];
    const side = narrow ? [WIDTH, HEIGHT / 2] : [WIDTH / 2, HEIGHT];
    [a, d] = [[fromX + side[0], fromY + side[1]], [toX + side[0], toY + side[1]]];
    [b, c] = [[a[0] + bow[0], a[1] + bow[1]], [d[0] + bow[0], d[1] + bow[1]]];
  }
  const place = [0, 1].map((axis) => [a, b, c, d].reduce((sum, point, index) => sum + LABEL[index] * point[axis], 0));
  const [dx, dy] = [d[0] - c[0], d[1] - c[1]];
  const length = Math.hypot(dx, dy) || 1;
  return [`M${a} C${b} ${c} ${d}`, place, d, [dx / length, dy / length]];
}

/** All that is known of a service, in words. */
function described(overview, name) {
  const service = overview.services.find((one) => one.service === name);
  const calls = overview.edges.filter((edge) => edge.from === name);
  const callers = overview.edges.filter((edge) => edge.to === name);
  const list = (edges, other) => el("ul", {}, edges.map((edge) => el("li", {}, short(edge[other]), ": ", line(edge.figures), ", ", age(edge.figures?.age_ms ?? edge.heard_age_ms))));
  return [
    el("h3", {}, name),
    el("p", {}, `${plural(service?.proxies ?? 0, "proxy reports", "proxies report")}, ${service?.well ?? 0} well, ${service?.silent ?? 0} silent.`,
      service?.kind === "" && " It is in no resource of the newest revision."),
    service?.served && el("p", {}, "Its own proxies count ", line(service.served), ", ", age(service.served.age_ms)),
    callers.length > 0 ? [el("p", {}, "Called by"), list(callers, "from")] : el("p", {}, "No one is known to call it."),
    calls.length > 0 ? [el("p", {}, "Calls"), list(calls, "to")] : el("p", {}, "It is not known to call anyone."),
  ];
}
