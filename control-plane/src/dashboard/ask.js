// Questions to the API, with the token of whoever sits at the browser.

/** The token lives as long as the tab. */
const PLACE = "outrigger-token";
const ANSWER_MAX_MS = 15_000;

/** Why there is no answer. `kind`: `token` (none, or a wrong one), `away` (nobody answers), `failed` (with the API's own words). */
export class NoAnswer extends Error {
  constructor(kind, message) {
    super(message);
    this.kind = kind;
  }
}

export function token() {
  return sessionStorage.getItem(PLACE);
}

export function remember(text) {
  if (text) sessionStorage.setItem(PLACE, text);
  else sessionStorage.removeItem(PLACE);
}

/** The JSON at `path`. */
export async function ask(path) {
  const headers = token() ? { authorization: `Bearer ${token()}` } : {};
  let response;
  try {
    response = await fetch(path, { headers, cache: "no-store", credentials: "omit", signal: AbortSignal.timeout(ANSWER_MAX_MS) });
  } catch (error) {
    const late = error.name === "TimeoutError";
    throw new NoAnswer("away", late ? `no answer in ${ANSWER_MAX_MS / 1000} s` : "it can't be reached");
  }
  if (response.status === 401) throw new NoAnswer("token", "This is not the token.");
  const body = await response.json().catch(() => null);
  if (!response.ok) throw new NoAnswer("failed", body?.message ?? `status ${response.status}`);
  if (body == null) throw new NoAnswer("failed", "the answer is no JSON");
  return body;
}
