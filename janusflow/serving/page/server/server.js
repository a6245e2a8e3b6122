/** Requests to the server that this page came from, and its errors as sentences. */
import { readEvents } from "./events.js";

/** The page may live under any prefix: the server's root is three folders above this file. */
const BASE = new URL("../../", import.meta.url);
const KEY = "janusflow.key";
const DEFAULT_WAIT = 5;

/** Called when the server asks for a key. */
let onKeyNeeded = () => {};

/** What went wrong, as words of the page. */
export class ServerError extends Error {
  /**
   * @param {string} key of the words
   * @param {Record<string, string | number>} values for them
   */
  constructor(key, values = {}) {
    super(`${key} ${JSON.stringify(values)}`);
    this.key = key;
    this.values = values;
  }
}

/**
 * The words for whatever was thrown.
 * @param {unknown} error
 * @returns {[string, Record<string, string | number>]} key and values, for `tell`
 */
export function explain(error) {
  if (error instanceof ServerError) return [error.key, error.values];
  console.error(error);
  return ["error.unexpected", { message: String(error?.message ?? error) }];
}

/** Whether the user stopped it, which is no error. */
export function isAbort(error) {
  return error instanceof DOMException && error.name === "AbortError";
}

/**
 * Say what to do when the server asks for a key.
 * @param {() => void} callback
 */
export function whenKeyNeeded(callback) {
  onKeyNeeded = callback;
}

/**
 * Send this key from now on, until the tab is closed.
 * @param {string} key
 */
export function useKey(key) {
  sessionStorage.setItem(KEY, key);
}

/** Whether the server is there and takes requests. */
export async function isAlive() {
  try {
    return (await fetch(new URL("health", BASE), { cache: "no-store" })).ok;
  } catch {
    return false;
  }
}

/**
 * What the server says about its first model: its id, and the `janusflow` part.
 * @returns {Promise<{id: string, janusflow: object}>}
 */
export async function describeModel() {
  const answer = await send("v1/models", { method: "GET" });
  return (await answer.json()).data[0];
}

/**
 * Post JSON or a form, and read the answer as JSON.
 * @param {string} path
 * @param {object | FormData} body
 * @param {AbortSignal} [signal]
 */
export async function post(path, body, signal) {
  return (await send(path, { method: "POST", signal, ...encoded(body) })).json();
}

/**
 * Post JSON or a form, and read the answer's events; `[DONE]` ends them.
 * @param {string} path
 * @param {object | FormData} body
 * @param {AbortSignal} signal
 * @yields {{event: string, data: object}}
 */
export async function* postForEvents(path, body, signal) {
  const answer = await send(path, { method: "POST", signal, ...encoded(body) });
  try {
    for await (const { event, data } of readEvents(answer.body)) {
      if (data === "[DONE]") return;
      const read = JSON.parse(data);
      if (event === "error" || read.error) {
        throw new ServerError("error.failed", { message: messageOf(read) });
      }
      yield { event, data: read };
    }
  } catch (error) {
    // A connection that breaks is a TypeError, as one that cannot be made.
    throw error instanceof TypeError ? new ServerError("error.broken") : error;
  }
}

function encoded(body) {
  if (body instanceof FormData) return { body };
  return { body: JSON.stringify(body), headers: { "Content-Type": "application/json" } };
}

/** Fetch, with the key if there is one; an answer that is no success becomes a ServerError. */
async function send(path, options) {
  const key = sessionStorage.getItem(KEY);
  const headers = { ...options.headers, ...(key ? { Authorization: `Bearer ${key}` } : {}) };
  let answer;
  try {
    answer = await fetch(new URL(path, BASE), { ...options, headers });
  } catch (error) {
    throw isAbort(error) ? error : new ServerError("error.gone");
  }
  if (!answer.ok) throw await errorOf(answer);
  return answer;
}

async function errorOf(answer) {
  if (answer.status === 401) {
    onKeyNeeded();
    return new ServerError("error.key");
  }
  if (answer.status === 429) {
    const seconds = Number(answer.headers.get("Retry-After")) || DEFAULT_WAIT;
    return new ServerError("error.busy", { seconds });
  }
  const message = messageOf(await answer.json().catch(() => ({}))) || `HTTP ${answer.status}`;
  return new ServerError(answer.status < 500 ? "error.refused" : "error.failed", { message });
}

/** The server's own sentence in an error of OpenAI's shape. */
function messageOf(body) {
  return body.error?.message ?? "";
}
