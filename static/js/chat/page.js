// The chat page: model picker, messages, composer. Follows the newest text unless one scrolls up.
import { html, useEffect, useLayoutEffect, useRef, useState } from "../lib.js";
import { fill, text } from "../messages.js";
import { isFolded, models, refreshModels, status } from "../state.js";
import { short } from "../time.js";
import { Icon } from "../ui/icons.js";
import { Menu, Notice } from "../ui/parts.js";
import { Composer } from "./composer.js";
import { conversations, titleOf } from "./conversations.js";
import { draft, isLoading, loadError, messages, model, modelInUse, open, openId, reset, running } from "./exchange.js";
import { DropTarget } from "./files.js";
import { Instructions } from "./instructions.js";
import { send } from "./sending.js";
import { turn } from "./turn.js";

const NEAR_END_PX = 48;

/** @param {{ id: string | null }} props */
export function ChatPage({ id }) {
  useEffect(() => { if (id) void open(id); else if (openId.value) reset(); }, [id]);
  const thread = useRef(/** @type {HTMLDivElement | null} */ (null));
  const [isFollowing, setFollowing] = useState(true);
  const following = useRef(true);
  const setBoth = (/** @type {boolean} */ value) => { following.current = value; setFollowing(value); };
  useLayoutEffect(() => { setBoth(true); }, [id]);
  const count = messages.value.length;
  // A new question is always shown, wherever one had scrolled to.
  useLayoutEffect(() => { if (running.value === "waiting") setBoth(true); }, [count]);
  useLayoutEffect(() => {
    const node = thread.current;
    if (node && following.current) node.scrollTop = node.scrollHeight;
  }, [messages.value, isLoading.value]);
  useEffect(() => watchSize(thread.current, following), []);
  const onScroll = () => {
    const node = thread.current;
    if (!node) return;
    const isNear = node.scrollHeight - node.scrollTop - node.clientHeight < NEAR_END_PX;
    if (isNear !== following.current) setBoth(isNear);
  };
  const toEnd = () => { setBoth(true); if (thread.current) thread.current.scrollTop = thread.current.scrollHeight; };
  const pill = !isFollowing && count > 0 && html`<button type="button" class="button follow" onClick=${toEnd}><${Icon} name="down" size="small" />${text.chat.follow}</button>`;
  const isNew = count === 0 && !id && !running.value;
  return html`<${Bar} id=${id} />
    <div class="thread" ref=${thread} onScroll=${onScroll} tabindex="-1">
      ${isNew ? html`<${Welcome} />` : html`<${Thread} />`}</div>
    <${Composer} follow=${pill} /><${DropTarget} />`;
}

/**
 * Code that gets its colours, or a window that is made smaller, changes heights without a new message.
 * @param {HTMLElement | null} node
 * @param {{ current: boolean }} following
 */
function watchSize(node, following) {
  if (!node) return undefined;
  const observer = new ResizeObserver(() => { if (following.current) node.scrollTop = node.scrollHeight; });
  observer.observe(node);
  return () => observer.disconnect();
}

function Thread() {
  const list = messages.value;
  if (loadError.value) {
    return html`<div class="thread-column"><${Notice} kind="bad" role="alert">${loadError.value}
      <button type="button" class="button small" onClick=${() => void open(openId.value ?? "", { again: true })}>${text.retry}</button></${Notice}></div>`;
  }
  if (isLoading.value) return html`<p class="waiting" role="status">${text.loading}</p>`;
  const lastQuestion = list.findLastIndex((one) => one.role === "user");
  return html`<div class="thread-column">${list.map((message, index) =>
    turn(message, index, index === list.length - 1 || index === lastQuestion))}</div>`;
}

/** @param {{ id: string | null }} props */
function Bar({ id }) {
  const current = modelInUse();
  const list = models.value;
  const title = (conversations.value ?? []).find((one) => one.id === id);
  const items = list.map((one) => ({
    label: html`<span><span>${one.id}</span><br /><span class="detail">${describe(one)}</span></span>`,
    class: "model-item", isChecked: one.id === current, isDisabled: one.state === "failed", act: () => { model.value = one.id; },
  }));
  return html`<header class="bar">
    ${isFolded.value && html`<button type="button" class="icon-button" aria-label=${text.chat.menuOpen} title=${text.chat.menuOpen}
      onClick=${() => { isFolded.value = false; }}><${Icon} name="panel" /></button>`}
    <${Menu} label=${`${text.chat.model}: ${current ?? text.chat.noModel}`} class="button plain model-button" align="start" items=${items}
      onOpen=${() => void refreshModels().catch(() => {})}
      button=${html`<span class="clip">${current ?? text.chat.noModel}</span><${Icon} name="chevron" size="small" />`} />
    ${id ? html`<h1 class="title clip">${title ? titleOf(title) : text.chat.untitled}</h1>` : html`<span class="title"></span>`}<${Instructions} /></header>`;
}

/** @param {import("../state.js").Model} one */
export function describe(one) {
  return [
    one.state && one.state !== "ready" && text.chat.modelStates[one.state],
    one.parameters && `${short(one.parameters)} parameters`,
    one.quantization,
    one.context_tokens && fill(text.chat.context, { count: short(one.context_tokens) }),
  ].filter(Boolean).join(" · ");
}

function Welcome() {
  return html`<div class="welcome"><h1>${text.chat.welcome}</h1><p>${text.chat.welcomeAbout}</p>
    <ul class="starters" aria-label=${status.value.organisation}>${text.chat.starters.map(([title, words]) => html`<li>
      <button type="button" class="starter" onClick=${async () => { if (!await send(words ?? "") && !draft.value) draft.value = words ?? ""; }}>
        <b>${title}</b><span>${words}</span></button></li>`)}</ul></div>`;
}
