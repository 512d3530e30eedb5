// The conversation that is open: its messages, and the answer that is being written.
import { batch, signal } from "../lib.js";
import { api, errorFrom } from "../api.js";
import { errors, text } from "../messages.js";
import { announce, go, models, refreshMe, refreshModels, toastError } from "../state.js";
import { refresh as refreshList } from "./conversations.js";

/**
 * @typedef {{ category: string, action: string, count: number, direction: "input" | "output" }} GuardNotice
 * @typedef {{ id: string, role: "user" | "assistant", content: string, created_at?: string, model?: string | null,
 *   finish_reason?: string | null, usage?: any, notices?: GuardNotice[], tokens_per_second?: number, error?: string, isLive?: boolean }} Message
 */

/** @typedef {{ message: string, isGone: boolean }} SendError `isGone`: the conversation itself is not there any more */

const REATTACH_MAX = 5;
const REATTACH_WAIT_MS = 800;
/** The longest message that the server takes. */
const MESSAGE_BYTES_MAX = 256 * 1024;

/** @type {import("../../vendor/signals.js").Signal<string | null>} */
export const openId = signal(null);
/** @type {import("../../vendor/signals.js").Signal<Message[]>} */
export const messages = signal([]);
export const isLoading = signal(false);
export const loadError = signal("");
/** null: nothing runs. "waiting" until the first text is there. */
export const running = signal(/** @type {null | "waiting" | "writing"} */ (null));
export const queuePosition = signal(/** @type {number | null} */ (null));
export const sendError = signal(/** @type {SendError | null} */ (null));
export const draft = signal("");
/** @type {import("../../vendor/signals.js").Signal<string | null>} */
export const model = signal(null);

let reader = new AbortController();
/** Text that came since the last frame; it is shown once a frame at most. */
let pending = "";
let frame = 0;
/** Somebody pressed Stop before the server had said that the answer began. */
let isStopWanted = false;

/** The chosen model, else the default one, else the first; one that cannot be loaded is nobody's choice. */
export function modelInUse() {
  const able = models.value.filter((one) => one.state !== "failed");
  return model.value ?? able.find((one) => one.default)?.id ?? able[0]?.id ?? null;
}

/** Forgets the open conversation. The answer, if one is running, goes on at the server. */
export function reset() {
  reader.abort();
  reader = new AbortController();
  drop();
  batch(() => {
    openId.value = null; messages.value = []; running.value = null; queuePosition.value = null;
    sendError.value = null; loadError.value = ""; isLoading.value = false;
  });
}

/** Forgets everything that a person typed or read here: another person is about to use this window. */
export function forgetAll() {
  reset();
  draft.value = "";
  model.value = null;
}

/**
 * @param {string} id
 * @param {{ again?: boolean }} [options] `again`: reads it anew, though it is open
 */
export async function open(id, options = {}) {
  if (openId.value === id && !options.again) return;
  reset();
  openId.value = id;
  isLoading.value = true;
  try {
    const answer = await api.get(`/api/conversations/${id}`, { signal: reader.signal });
    if (openId.value !== id) return;
    batch(() => {
      messages.value = shown(answer);
      if (answer.conversation.model && models.value.some((one) => one.id === answer.conversation.model)) model.value = answer.conversation.model;
      isLoading.value = false;
    });
    if (answer.active) await reattach(id, answer.active.message_id);
  } catch (/** @type {any} */ error) {
    if (error.name === "AbortError" || openId.value !== id) return;
    batch(() => { isLoading.value = false; loadError.value = error.message; });
  }
}

/**
 * Sends a message; makes the conversation first when there is none.
 * @param {string} content
 * @returns {Promise<boolean>} whether the server took it
 */
export async function send(content) {
  if (running.value) return false;
  sendError.value = null;
  if (new TextEncoder().encode(content).length > MESSAGE_BYTES_MAX) {
    sendError.value = { message: errors.payload_too_large, isGone: false };
    return false;
  }
  // Where the chat could not be read, what is answered would stand beside nothing.
  if (loadError.value && openId.value) {
    await open(openId.value, { again: true });
    if (loadError.value || running.value) return false;
  }
  running.value = "waiting";
  isStopWanted = false;
  try {
    if (!openId.value) await begin();
  } catch (/** @type {any} */ error) {
    refused(error);
    return false;
  }
  add({ id: "local-question", role: "user", content });
  return run({ content, model: modelInUse() ?? undefined });
}

export async function regenerate() {
  if (running.value || !openId.value) return;
  sendError.value = null;
  running.value = "waiting";
  isStopWanted = false;
  const before = messages.value;
  const last = before.at(-1);
  if (last?.role === "assistant") messages.value = before.slice(0, -1);
  forgetNotices();
  if (!await run({ regenerate: true, model: modelInUse() ?? undefined })) messages.value = before;
}

/** Stops the answer. Pressed again before the server took the message, it takes the message back. */
export async function stop() {
  if (!running.value) return;
  if (hasBegun()) return askToStop();
  if (isStopWanted) reader.abort();
  isStopWanted = true;
  return undefined;
}

const hasBegun = () => { const id = live()?.id; return id !== undefined && id !== "local-answer"; };

async function askToStop() {
  try {
    await api.post(`/api/conversations/${openId.value}/stop`);
  } catch (/** @type {any} */ error) {
    // Not found: it has just ended, and its last word is on the way.
    if (error.status !== 404) toastError(error);
  }
}

/** @param {any} error why the server did not take what was sent */
function refused(error) {
  drop();
  batch(() => {
    messages.value = messages.value.filter((one) => one.id !== "local-answer" && one.id !== "local-question");
    running.value = null;
    queuePosition.value = null;
    // The sign-in page says this one; and who took the message back needs no reason.
    const isSaid = error.code === "not_signed_in" || error.name === "AbortError";
    sendError.value = isSaid ? null : { message: error.code === "not_found" ? text.chat.gone : error.message, isGone: error.code === "not_found" };
  });
  if (error.code === "model_not_found" || error.code === "model_not_ready") void refreshModels().catch(() => {});
}

async function begin() {
  const { id } = await api.post("/api/conversations", { model: modelInUse() ?? undefined });
  openId.value = id;
  go(`/c/${id}`);
}

/** @param {Message} message */
function add(message) { messages.value = [...messages.value, message]; }

/** @param {{ content?: string, regenerate?: boolean, model?: string }} body @returns {Promise<boolean>} */
async function run(body) {
  const id = /** @type {string} */ (openId.value);
  reader = new AbortController();
  const mine = reader;
  add({ id: "local-answer", role: "assistant", content: "", isLive: true });
  announce(text.chat.answering);
  try {
    await follow(api.stream("POST", `/api/conversations/${id}/messages`, body, mine.signal));
    if (reader === mine && running.value) await reattach(id, live()?.id ?? "");
    return true;
  } catch (/** @type {any} */ error) {
    if (reader !== mine) return true;
    if (hasBegun()) { await reattach(id, live()?.id ?? ""); return true; }
    refused(error);
    if (error.code === "conflict") {
      // Another window got ahead of this one: what is there now is shown, and an answer that is being written is followed.
      void open(id, { again: true });
      sendError.value = { message: text.chat.elsewhere, isGone: false };
    }
    return false;
  } finally {
    void refreshList();
    void refreshMe().catch(() => {});
  }
}

/**
 * Picks up an answer that is still being written: after a reload, or a broken connection.
 * @param {string} id
 * @param {string} messageId
 */
async function reattach(id, messageId) {
  if (reader.signal.aborted) reader = new AbortController();
  const mine = reader;
  for (let attempt = 0; attempt < REATTACH_MAX; attempt += 1) {
    if (attempt > 0) await new Promise((done) => setTimeout(done, REATTACH_WAIT_MS * attempt));
    if (mine.signal.aborted || openId.value !== id) return;
    // The stream replays the whole answer, so what is there is replaced.
    drop();
    const others = messages.value.filter((one) => !one.isLive && one.id !== messageId);
    batch(() => {
      messages.value = [...others, { id: messageId, role: "assistant", content: "", isLive: true }];
      forgetNotices();
      running.value = "waiting";
      queuePosition.value = null;
    });
    try {
      await follow(api.stream("GET", `/api/conversations/${id}/stream`, undefined, mine.signal));
      if (!running.value) return;
    } catch (/** @type {any} */ error) {
      if (mine.signal.aborted) return;
      if (error.status === 404 || error.status === 409) return reload(id);
      // Signed out: after the next sign-in the chat is opened anew.
      if (error.status === 401) { reset(); return; }
    }
  }
  settle({ error: errors.unreachable });
}

/** @param {string} id the answer ended while nobody listened: the stored one is shown */
async function reload(id) {
  try {
    const answer = await api.get(`/api/conversations/${id}`);
    if (openId.value !== id) return;
    drop();
    batch(() => { messages.value = shown(answer); running.value = null; queuePosition.value = null; });
  } catch (/** @type {any} */ error) {
    if (openId.value === id) settle({ error: error.message });
  }
}

/**
 * The server keeps all that the guard did with the answer; what it did to the question is shown there.
 * @param {{ messages: Message[] }} answer
 * @returns {Message[]}
 */
function shown(answer) {
  /** @type {Message[]} */
  const list = [];
  for (const one of answer.messages) {
    if (one.role === "user") list.push({ ...one });
    if (one.role !== "assistant") continue;
    const notices = one.notices ?? [];
    const question = list.at(-1);
    if (question?.role === "user") question.notices = notices.filter(isOfQuestion);
    list.push({ ...one, notices: notices.filter((notice) => !isOfQuestion(notice)) });
  }
  return list;
}

const isOfQuestion = (/** @type {GuardNotice} */ notice) => notice.direction === "input";

/** The last question is answered again, or its answer told again from the beginning, and with it what the guard did. */
function forgetNotices() {
  const last = messages.value.findLast((one) => one.role === "user");
  messages.value = messages.value.map((one) => (one === last ? { ...one, notices: [] } : one));
}

/** @param {AsyncGenerator<{ event: string, data: any }>} events */
async function follow(events) {
  for await (const { event, data } of events) {
    if (event === "start") taken(data);
    else if (event === "queued") queuePosition.value = data.position;
    else if (event === "started") queuePosition.value = null;
    else if (event === "delta") collect(data.text);
    else if (event === "notice") { flush(); noticed(data); }
    else if (event === "done") { settle(data); announce(data.finish_reason === "cancelled" ? text.chat.stoppedAnnounce : text.chat.finished); return; }
    else if (event === "error") { settle({ error: errorFrom(data, 500).message }); return; }
  }
}

/** @param {any} data */
function taken(data) {
  messages.value = messages.value.map((one) => {
    if (one.id === "local-question" && data.user_message_id) return { ...one, id: data.user_message_id };
    return one.isLive ? { ...one, id: data.message_id ?? one.id } : one;
  });
  if (!isStopWanted) return;
  isStopWanted = false;
  void askToStop();
}

const live = () => messages.value.find((one) => one.isLive);

/** @param {Partial<Message>} change */
function changeLive(change) {
  messages.value = messages.value.map((one) => (one.isLive ? { ...one, ...change } : one));
}

/** @param {GuardNotice} notice */
function noticed(notice) {
  const target = isOfQuestion(notice) ? messages.value.findLast((one) => one.role === "user") : live();
  messages.value = messages.value.map((one) => (one === target ? { ...one, notices: [...(one.notices ?? []), notice] } : one));
}

/** @param {string} more */
function collect(more) {
  pending += more;
  // A hidden page draws no frames; its text is kept until it is seen again.
  if (!frame) frame = requestAnimationFrame(flush);
}

function flush() {
  cancelAnimationFrame(frame);
  frame = 0;
  if (!pending) return;
  const more = pending;
  pending = "";
  batch(() => {
    running.value = "writing";
    queuePosition.value = null;
    changeLive({ content: (live()?.content ?? "") + more });
  });
}

function drop() {
  cancelAnimationFrame(frame);
  frame = 0;
  pending = "";
}

/** @param {any} end */
function settle(end) {
  flush();
  batch(() => {
    changeLive({ ...end, isLive: false });
    running.value = null;
    queuePosition.value = null;
  });
}
