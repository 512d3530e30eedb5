// The one way to the server: JSON requests, the CSRF header, errors in words, event streams.
import { errors, fill } from "./messages.js";
import { wait } from "./time.js";

/** A refusal of the server, or its absence. `message` is for people. */
export class ApiError extends Error {
  /**
   * @param {number} status
   * @param {string} code
   * @param {string} message
   * @param {string | null} [param]
   */
  constructor(status, code, message, param = null) {
    super(message);
    this.status = status;
    this.code = code;
    this.param = param;
  }
}

let csrf = "";
/** @type {(error: ApiError) => void} */
let onRefusal = () => {};

/** @param {string} value */
export function setCsrf(value) { csrf = value; }

/**
 * Called with each refusal that concerns the whole app: signed out, or sealed.
 * @param {(error: ApiError) => void} callback
 */
export function watchRefusals(callback) { onRefusal = callback; }

/**
 * @param {string} method
 * @param {string} path
 * @param {unknown} [body]
 * @param {{ signal?: AbortSignal, keepalive?: boolean, accept?: string }} [options]
 * @returns {Promise<Response>}
 */
async function send(method, path, body, options = {}) {
  /** @type {Record<string, string>} */
  const headers = { accept: options.accept ?? "application/json" };
  if (method !== "GET" && csrf) headers["x-strongroom-csrf"] = csrf;
  if (body !== undefined) headers["content-type"] = "application/json";
  let response;
  try {
    response = await fetch(path, {
      method, headers, credentials: "same-origin", cache: "no-store", redirect: "error",
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: options.signal, keepalive: options.keepalive,
    });
  } catch (cause) {
    if (cause instanceof DOMException && cause.name === "AbortError") throw cause;
    throw new ApiError(0, "unreachable", errors.unreachable);
  }
  if (!response.ok) {
    const error = await refusal(response);
    if (["sealed", "not_signed_in", "cross_origin"].includes(error.code)) onRefusal(error);
    throw error;
  }
  return response;
}

/** @param {Response} response */
async function refusal(response) {
  /** @type {any} */
  let body = null;
  try { body = await response.json(); } catch { /* an answer from something between us: words below */ }
  return errorFrom(body, response.status, response.headers);
}

/**
 * @param {any} body
 * @param {number} status
 * @param {Headers} [headers]
 */
export function errorFrom(body, status, headers) {
  const code = body?.error?.code ?? "internal_error";
  const known = /** @type {Record<string, string>} */ (errors)[code];
  const message = fill(known ?? body?.error?.message ?? errors.internal_error, {
    said: body?.error?.message ?? "",
    // In a stream, what headers say stands in the event.
    wait: wait(Number(headers?.get("retry-after") ?? body?.retry_after)),
    request: headers?.get("x-request-id") ?? body?.request_id ?? "the time of now",
  });
  return new ApiError(status, code, message, body?.error?.param ?? null);
}

/**
 * @param {string} method
 * @param {string} path
 * @param {unknown} [body]
 * @param {{ signal?: AbortSignal, keepalive?: boolean }} [options]
 * @returns {Promise<any>}
 */
async function json(method, path, body, options) {
  const response = await send(method, path, body, options);
  const isJson = (response.headers.get("content-type") ?? "").includes("json");
  return isJson ? response.json() : null;
}

export const api = {
  /** @param {string} path @param {{ signal?: AbortSignal }} [options] */
  get: (path, options) => json("GET", path, undefined, options),
  /** @param {string} path @param {unknown} [body] @param {{ signal?: AbortSignal }} [options] */
  post: (path, body, options) => json("POST", path, body, options),
  /** @param {string} path @param {unknown} body */
  patch: (path, body) => json("PATCH", path, body),
  /** @param {string} path @param {{ keepalive?: boolean }} [options] */
  delete: (path, options) => json("DELETE", path, undefined, options),
  stream,
};

/**
 * Yields the events of a stream until it ends or `signal` aborts it.
 * @param {string} method
 * @param {string} path
 * @param {unknown} body
 * @param {AbortSignal} signal
 * @returns {AsyncGenerator<{ event: string, data: any }>}
 */
async function* stream(method, path, body, signal) {
  const response = await send(method, path, body, { signal, accept: "text/event-stream" });
  if (!response.body) return;
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    rest += value;
    const parts = rest.split(/\r?\n\r?\n/);
    rest = parts.pop() ?? "";
    for (const part of parts) {
      const event = parseEvent(part);
      if (event) yield event;
    }
  }
}

/** @param {string} part @returns {{ event: string, data: any } | null} */
function parseEvent(part) {
  let event = "message";
  /** @type {string[]} */
  const data = [];
  for (const line of part.split(/\r?\n/)) {
    if (line.startsWith("event:")) event = line.slice(6).trim();
    else if (line.startsWith("data:")) data.push(line.slice(5).replace(/^ /, ""));
  }
  if (data.length === 0) return null;
  try { return { event, data: JSON.parse(data.join("\n")) }; } catch { return null; }
}
