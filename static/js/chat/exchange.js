// The conversation that is open: its messages, and the answer that is being written.
import { batch, signal } from "../lib.js";
import { api, errorFrom } from "../api.js";
import { errors, text } from "../messages.js";
import { announce, models, toastError } from "../state.js";
import { forgetAttached } from "./attached.js";

/**
 * @typedef {{ category: string, action: string, count: number, direction: "input" | "output" }} GuardNotice
 * @typedef {{ id: string, role: "user" | "assistant", content: string, created_at?: string, model?: string | null,
 *   finish_reason?: string | null, usage?: any, notices?: GuardNotice[], tokens_per_second?: number, error?: string, isLive?: boolean }} Message
 */

/** @typedef {{ message: string, isGone: boolean }} SendError `isGone`: the conversation itself is not there any more */

const REATTACH_MAX = 5;
const REATTACH_WAIT_MS = 800;

/** @type {import("../../vendor/signals.js").Signal<string | null>} */
export const openId = signal(null);
/** @type {import("../../vendor/signals.js").Signal<Message[]>} */
export const messages = signal([]);
export const isLoading = signal(false);
export const loadError = signal("");
/** null: nothing runs. "waiting" until the first text is there. */
export const running = signal(/** @type {null | "waiting" | "writing"} */ (null));
/**
 * What a "waiting" answer waits for, where the server tells it.
 * @typedef {{ loading: number | null } | { position: number }} Awaited `loading`: the model, of which so many percent are read
 */
export const awaited = signal(/** @type {Awaited | null} */ (null));
export const sendError = signal(/** @type {SendError | null} */ (null));
export const draft = signal("");
/** @type {import("../../vendor/signals.js").Signal<string | null>} */
export const model = signal(null);

/** The instructions that the chat stands under. @type {import("../../vendor/signals.js").Signal<string | null>} */
export const prompt = signal(null);

let reader = new AbortController();
/** Text that came since the last frame; it is shown once a frame at most. */
let pending = "";
let frame = 0;
/** How often something else was shown here, and how often the window was made another person's. */
let visits = 0;
let people = 0;

/** Where a person is now. Whoever waits for the server asks afterwards whether they still are. */
export function whereabouts() {
  const [visit, person] = [visits, people];
  return { isHere: () => visit === visits, isTheirs: () => person === people };
}

/** @param {AbortController} controller of what is read now; it ends when something else is shown */
export function watch(controller) { reader = controller; }

/** The chosen model, else the default one, else the first; one that cannot be loaded is nobody's choice. */
export function modelInUse() {
  const able = models.value.filter((one) => one.state !== "failed");
  return model.value ?? able.find((one) => one.default)?.id ?? able[0]?.id ?? null;
}

/** Forgets the open conversation. The answer, if one is running, goes on at the server. */
export function reset() {
  visits += 1;
  reader.abort();
  reader = new AbortController();
  drop();
  batch(() => {
    openId.value = null; prompt.value = null; messages.value = []; running.value = null; awaited.value = null;
    sendError.value = null; loadError.value = ""; isLoading.value = false;
  });
}

/** Forgets everything that a person typed or read here: another person is about to use this window. */
export function forgetAll() {
  people += 1;
  reset();
  draft.value = "";
  forgetAttached();
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
      prompt.value = answer.conversation.prompt ?? null;
      if (answer.conversation.model && models.value.some((one) => one.id === answer.conversation.model)) model.value = answer.conversation.model;
      isLoading.value = false;
    });
    if (answer.active) await reattach(id, answer.active.message_id);
  } catch (/** @type {any} */ error) {
    if (error.name === "AbortError" || openId.value !== id) return;
    batch(() => { isLoading.value = false; loadError.value = error.message; });
  }
}

export const hasBegun = () => { const id = live()?.id; return id !== undefined && id !== "local-answer"; };

/** @param {string} id */
export async function askToStop(id) {
  try {
    await api.post(`/api/conversations/${id}/stop`);
  } catch (/** @type {any} */ error) {
    // Not found: it has just ended, and its last word is on the way.
    if (error.status !== 404) toastError(error);
  }
}

/** @param {Message} message */
export function add(message) { messages.value = [...messages.value, message]; }

/**
 * Picks up an answer that is still being written: after a reload, or a broken connection.
 * @param {string} id
 * @param {string} messageId
 */
export async function reattach(id, messageId) {
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
      awaited.value = null;
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
    batch(() => { messages.value = shown(answer); running.value = null; awaited.value = null; });
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
export function forgetNotices() {
  const last = messages.value.findLast((one) => one.role === "user");
  messages.value = messages.value.map((one) => (one === last ? { ...one, notices: [] } : one));
}

/** @param {AsyncGenerator<{ event: string, data: any }>} events */
export async function follow(events) {
  for await (const { event, data } of events) {
    if (event === "start") taken(data);
    else if (event === "loading") awaited.value = { loading: data.percent };
    else if (event === "queued") awaited.value = { position: data.position };
    else if (event === "started") awaited.value = null;
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
}

export const live = () => messages.value.find((one) => one.isLive);

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
    awaited.value = null;
    changeLive({ content: (live()?.content ?? "") + more });
  });
}

export function drop() {
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
    awaited.value = null;
  });
}
