// The list of conversations in the sidebar: load, search, rename, pin, delete with undo.
import { batch, computed, signal } from "../lib.js";
import { api } from "../api.js";
import { fill, text } from "../messages.js";
import { go, path, toast, toastError } from "../state.js";

/** @typedef {{ id: string, title: string | null, model: string, pinned: boolean, created_at: string, updated_at: string }} Conversation */

const UNDO_MS = 6_000;
const DAY_MS = 86_400_000;
const PAGE = 200;

/** @type {import("../../vendor/signals.js").Signal<Conversation[] | null>} */
export const conversations = signal(null);
export const search = signal("");
/** Whether the server has older ones than those that were loaded. */
export const hasMore = signal(false);
/** Deleted here, and at the server as soon as the undo is over. */
const leaving = signal(/** @type {Map<string, ReturnType<typeof setTimeout>>} */ (new Map()));

export const groups = computed(() => {
  const list = (conversations.value ?? []).filter((one) => !leaving.value.has(one.id));
  const midnight = new Date().setHours(0, 0, 0, 0);
  const names = [text.chat.pinned, text.chat.today, text.chat.week, text.chat.older];
  /** @type {Conversation[][]} */
  const sorted = [[], [], [], []];
  for (const one of list) {
    const at = Date.parse(one.updated_at);
    const place = one.pinned ? 0 : at >= midnight ? 1 : at >= midnight - 7 * DAY_MS ? 2 : 3;
    sorted[place]?.push(one);
  }
  return names.map((name, index) => ({ name, list: sorted[index] ?? [] })).filter((group) => group.list.length > 0);
});

/** @param {Conversation} one */
export const titleOf = (one) => one.title || text.chat.untitled;

/** @param {string} words @param {string} [before] @returns {Promise<Conversation[]>} a page of the list */
async function page(words, before) {
  const query = new URLSearchParams({ limit: String(PAGE) });
  if (words) query.set("search", words);
  if (before) query.set("before", before);
  return (await api.get(`/api/conversations?${query}`)).conversations;
}

let asked = 0;
let listed = "";
export async function refresh() {
  const mine = ++asked;
  const words = search.value.trim();
  try {
    const first = await page(words);
    // A slow answer to an older search must not replace a newer one.
    if (mine !== asked) return;
    const last = first.at(-1);
    const isFull = first.length === PAGE && last !== undefined;
    // What was loaded beyond the first page stays: a list that is being read does not end earlier than before.
    const ids = new Set(first.map((one) => one.id));
    const rest = isFull && words === listed ? (conversations.value ?? []).filter((one) => !ids.has(one.id) && isAfter(one, last)) : [];
    batch(() => {
      conversations.value = [...first, ...rest];
      hasMore.value = isFull && (rest.length === 0 || hasMore.value);
    });
    listed = words;
  } catch (error) { toastError(error); }
}

/** Loads the page of the list that comes after what is there. */
export async function loadMore() {
  const words = listed;
  const known = conversations.value ?? [];
  // Not simply the one at the end: what was pinned here a moment ago stands where it stood.
  const last = known.reduce((latest, one) => (!latest || isAfter(one, latest) ? one : latest), known[0]);
  if (!last) return;
  try {
    const next = await page(words, last.id);
    if (words !== listed) return;
    batch(() => {
      const ids = new Set(next.map((one) => one.id));
      conversations.value = [...(conversations.value ?? []).filter((one) => !ids.has(one.id)), ...next];
      hasMore.value = next.length === PAGE;
    });
  } catch (error) { toastError(error); }
}

/** @param {Conversation} one @param {Conversation} other whether one comes after the other in the list, as the server orders it */
function isAfter(one, other) {
  if (one.pinned !== other.pinned) return other.pinned;
  const [mine, its] = [Date.parse(one.updated_at), Date.parse(other.updated_at)];
  return mine === its ? one.id < other.id : mine < its;
}

/**
 * @param {string} id
 * @param {{ title?: string, pinned?: boolean }} change
 */
export async function change(id, change) {
  const before = conversations.value;
  conversations.value = (before ?? []).map((one) => (one.id === id ? { ...one, ...change } : one));
  try {
    await api.patch(`/api/conversations/${id}`, change);
  } catch (error) {
    conversations.value = before;
    toastError(error);
  }
}

/** @param {Conversation} one */
export function remove(one) {
  const timer = setTimeout(() => void finish(one.id), UNDO_MS);
  leaving.value = new Map(leaving.value).set(one.id, timer);
  if (path.value === `/c/${one.id}`) go("/");
  toast(fill(text.chat.deleted, { title: titleOf(one) }), { action: text.undo, act: () => stay(one.id) });
}

/** @param {string} id */
function stay(id) {
  clearTimeout(leaving.value.get(id));
  forget(id);
}

/** @param {string} id */
function forget(id) {
  const next = new Map(leaving.value);
  next.delete(id);
  leaving.value = next;
}

/** @param {string} id */
async function finish(id) {
  try {
    await api.delete(`/api/conversations/${id}`, { keepalive: true });
    conversations.value = (conversations.value ?? []).filter((one) => one.id !== id);
  } catch (error) { toastError(error); }
  forget(id);
}

/** Ends the time for an undo: the page is left, or the person leaves. */
export async function finishRemoving() {
  await Promise.all([...leaving.value].map(([id, timer]) => { clearTimeout(timer); return finish(id); }));
}
addEventListener("pagehide", () => void finishRemoving());
