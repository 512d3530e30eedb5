// The list of conversations in the sidebar: load, search, rename, pin, delete with undo.
import { computed, signal } from "../lib.js";
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

let asked = 0;
export async function refresh() {
  const mine = ++asked;
  const query = new URLSearchParams({ limit: String(PAGE) });
  if (search.value.trim()) query.set("search", search.value.trim());
  try {
    const answer = await api.get(`/api/conversations?${query}`);
    // A slow answer to an older search must not replace a newer one.
    if (mine === asked) conversations.value = answer.conversations;
  } catch (error) { toastError(error); }
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
