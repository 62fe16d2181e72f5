// Elements. Texts come from proxies and from people: they only ever become text nodes and attribute values, never markup.

const SVG = "http://www.w3.org/2000/svg";

/** An HTML element. `attributes`: false and null leave one out, true sets it empty. */
export function el(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** The same, of a drawing. */
export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "onclick") element.addEventListener("click", value);
    else if (value !== false && value != null) element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat(9).filter((child) => child != null && child !== false));
  return element;
}

/** When what is being shown was true. It may be shown again long after: its ages have grown meanwhile. */
let told = Date.now();

/** From here on ages are those of figures that came at this time, by this machine's clock. */
export function asOf(at) {
  told = at;
}

/** How long ago it is what was `ms` old when it was told, as a text that goes on by itself: see `tick`. */
export function age(ms) {
  return since(told - ms);
}

/** The same of a point of time, by this machine's clock. */
export function since(at) {
  return tickOne(el("span", { class: "age", "data-since": at }), Date.now());
}

/** Brings every age up to date. */
export function tick() {
  const now = Date.now();
  for (const element of document.querySelectorAll("[data-since]")) tickOne(element, now);
}

function tickOne(element, now) {
  const text = `${span(now - Number(element.dataset.since))} ago`;
  if (element.textContent !== text) element.textContent = text;
  return element;
}

/** A time in one unit, rounded down. */
export function span(ms) {
  const s = Math.max(0, Math.floor(ms / 1000));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 48 * 3600) return `${Math.floor(s / 3600)} h`;
  return `${Math.floor(s / 86400)} d`;
}

/**
 * Puts `content` in the place of what `container` holds. Where the reader was stays where it was: the focus by `data-key`, what was
 * unfolded, how far it was scrolled.
 */
export function replace(container, ...content) {
  const focused = container.contains(document.activeElement) ? document.activeElement.dataset.key : null;
  const open = new Set(keys(container, "details[open]"));
  const scrolled = new Map([...container.querySelectorAll("[data-scroll]")].map((one) => [one.dataset.key, [one.scrollLeft, one.scrollTop]]));
  container.replaceChildren(...content.flat(9).filter((child) => child != null && child !== false));
  for (const details of container.querySelectorAll("details")) if (open.has(details.dataset.key)) details.open = true;
  for (const one of container.querySelectorAll("[data-scroll]")) {
    const [left, top] = scrolled.get(one.dataset.key) ?? [0, 0];
    one.scrollTo({ left, top, behavior: "instant" });
  }
  if (focused) find(container, focused)?.focus({ preventScroll: true });
}

/** The element of `container` with that key. */
export function find(container, key) {
  return [...container.querySelectorAll("[data-key]")].find((one) => one.dataset.key === key);
}

function keys(container, selector) {
  return [...container.querySelectorAll(selector)].map((one) => one.dataset.key);
}

/**
 * A table. `columns`: `{ name, of: row => content, kind: "number" | "wide" | "brief" }`. Of more than `LONG` rows the first are shown until someone
 * wants all.
 */
export function table(key, caption, columns, rows, shown) {
  const first = shown.has(key) ? rows : rows.slice(0, LONG);
  const head = columns.map((column) => el("th", { scope: "col", role: "columnheader", class: column.kind }, column.name));
  const cell = (row) => (column) =>
    el("td", { role: "cell", class: column.kind, "data-label": column.name }, cellContent(column.of(row)));
  const body = first.map((row) => el("tr", { role: "row" }, columns.map(cell(row))));
  return [
    el("div", { class: "rows" },
      // The roles are those that they have; a narrow page lays rows out as blocks, which would take them away.
      el("table", { class: "stack", role: "table", "data-table": key },
        el("caption", {}, caption),
        el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, head)),
        el("tbody", { role: "rowgroup" }, body))),
    first.length < rows.length && el("button", { type: "button", class: "more", "data-key": `more-${key}`, "data-more": key },
      `Show ${rows.length - first.length} more`),
  ];
}

/** Rows that are shown at first. */
const LONG = 50;

/** In a block layout each cell has two columns: its name and one content. */
function cellContent(content) {
  return Array.isArray(content) && content.length > 1 ? el("span", {}, content) : content;
}

/** A sentence in place of what is not there. */
export function nothing(...content) {
  return el("p", { class: "nothing" }, content);
}
