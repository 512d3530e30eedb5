// What the whole app knows: who is signed in, where we are, what to say in passing.
import { signal, computed } from "./lib.js";
import { api, setCsrf } from "./api.js";

/**
 * @typedef {{ id: string, username: string, display_name: string, roles: string[], permissions: string[] }} Person
 * @typedef {{ used: number, limit: number | null }} Meter
 * @typedef {{ person: Person, csrf: string, session_id: string, usage?: { tokens_day?: Meter, tokens_month?: Meter, tokens_minute?: Meter, groups?: { id: string, name: string, usage: { tokens_day: Meter, tokens_month: Meter, tokens_minute: Meter } }[] } }} Me
 * @typedef {{ id: string, context_tokens?: number, parameters?: number, quantization?: string, architecture?: string, kind?: string | null, state?: string, default?: boolean }} Model
 */

/** @type {import("../vendor/signals.js").Signal<Me | null>} */
export const me = signal(null);
/** "loading" until the server was asked once; "sealed" and "away" show their own pages. */
export const phase = signal(/** @type {"loading" | "ready" | "sealed" | "away"} */ ("loading"));
export const status = signal({ state: "ready", organisation: "Strongroom", version: "" });
/** @type {import("../vendor/signals.js").Signal<Model[]>} */
export const models = signal([]);
export const path = signal(location.pathname);
export const announcement = signal("");
/** @type {import("../vendor/signals.js").Signal<{ id: number, message: string, action?: string, act?: () => void }[]>} */
export const toasts = signal([]);
export const isFolded = signal(matchMedia("(max-width: 800px)").matches);

/** The session ended by itself while somebody was here; the sign-in page says so. */
export const hasSessionEnded = signal(false);

export const permissions = computed(() => new Set(me.value?.person.permissions ?? []));
/** @param {...string} names @returns {boolean} whether any of them is held */
export const may = (...names) => names.some((name) => permissions.value.has(name));

/** @param {Me | null} value */
export function setMe(value) {
  me.value = value;
  if (value) hasSessionEnded.value = false;
  setCsrf(value?.csrf ?? "");
}

export async function refreshMe() {
  setMe(await api.get("/api/me"));
}

export async function refreshModels() {
  // A model that makes vectors has nothing to say in a chat; one that is still read may have.
  const all = (await api.get("/api/models")).models;
  models.value = all.filter((/** @type {Model} */ one) => (one.kind ?? "chat") === "chat");
}

/**
 * Goes to a page of the app without loading it anew.
 * @param {string} to
 * @param {{ replace?: boolean }} [options]
 */
export function go(to, options = {}) {
  history[options.replace ? "replaceState" : "pushState"](null, "", to);
  path.value = location.pathname;
  if (matchMedia("(max-width: 800px)").matches) isFolded.value = true;
}

addEventListener("popstate", () => { path.value = location.pathname; });

// Links inside the app stay inside the app; a click with a modifier key still opens a tab.
document.addEventListener("click", (event) => {
  if (event.defaultPrevented || event.button !== 0) return;
  if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  const link = event.target instanceof Element ? event.target.closest("a[href]") : null;
  if (!(link instanceof HTMLAnchorElement) || link.target || link.origin !== location.origin) return;
  if (link.hasAttribute("download") || link.hash || link.closest(".answer")) return;
  event.preventDefault();
  go(link.pathname + link.search);
});

/** @param {string} message said by screen readers, shown nowhere */
export function announce(message) {
  const region = document.getElementById("announce");
  if (region) region.textContent = message;
}

let toastId = 0;
/**
 * Says something in passing, for six seconds.
 * @param {string} message
 * @param {{ action?: string, act?: () => void }} [options]
 */
export function toast(message, options = {}) {
  const id = ++toastId;
  const end = () => { toasts.value = toasts.value.filter((one) => one.id !== id); };
  const act = options.act && (() => { end(); options.act?.(); });
  toasts.value = [...toasts.value.slice(-2), { id, message, action: options.action, act }];
  setTimeout(end, 6000);
}

/** @param {unknown} error */
export function toastError(error) {
  if (error instanceof Error && error.name !== "AbortError") toast(error.message);
}
