// The sidebar: new chat, search, the chats, and who is signed in.
import { html, useEffect, useRef, useState } from "../lib.js";
import { fill, text } from "../messages.js";
import { api } from "../api.js";
import { go, isFolded, may, me, path, setMe, status, toastError } from "../state.js";
import { number } from "../time.js";
import { adminPages } from "../admin/pages.js";
import { Icon } from "../ui/icons.js";
import { useTask } from "../ui/load.js";
import { Brand, Menu } from "../ui/parts.js";
import { change, conversations, finishRemoving, groups, hasMore, loadMore, refresh, remove, search, titleOf } from "./conversations.js";
import { forgetAll, openId, reset } from "./exchange.js";

const SEARCH_WAIT_MS = 200;

export function newChat() {
  reset();
  go("/");
  /** @type {HTMLElement | null} */ (document.querySelector(".composer textarea"))?.focus();
}

export function Sidebar() {
  const [isApple] = useState(() => /Mac|iPhone|iPad/.test(navigator.userAgent));
  useEffect(() => {
    if (!may("chat")) return undefined;
    // Another window may have added or deleted chats.
    const look = () => { if (document.visibilityState === "visible") void refresh(); };
    look();
    document.addEventListener("visibilitychange", look);
    return () => document.removeEventListener("visibilitychange", look);
  }, []);
  return html`<nav class="sidebar" aria-label=${text.product}>
    <div class="sidebar-top"><div class="row-apart"><a class="brand-link" href="/"><${Brand}>${status.value.organisation}</${Brand}></a>
      <button type="button" class="icon-button" aria-label=${text.chat.menuClose} title=${text.chat.menuClose}
        onClick=${() => { isFolded.value = true; }}><${Icon} name="panel" /></button></div>
      ${may("chat") && html`<button type="button" class="button new-chat" onClick=${newChat}><${Icon} name="plus" size="small" />${text.chat.new}
        <kbd>${isApple ? "⌘K" : "Ctrl K"}</kbd></button><${Search} />`}</div>
    ${may("chat") ? html`<${History} />` : html`<div class="history"></div>`}<${Foot} /></nav>
    <button type="button" class="sidebar-scrim" aria-label=${text.chat.menuClose} tabindex="-1" onClick=${() => { isFolded.value = true; }}></button>`;
}

function Search() {
  const timer = useRef(/** @type {any} */ (0));
  const onInput = (/** @type {any} */ event) => {
    search.value = event.currentTarget.value;
    clearTimeout(timer.current);
    timer.current = setTimeout(() => void refresh(), SEARCH_WAIT_MS);
  };
  return html`<div class="search"><${Icon} name="search" size="small" />
    <input class="input compact" type="search" aria-label=${text.chat.search} placeholder=${text.chat.search} value=${search.value}
      maxlength="200" autocomplete="off" onInput=${onInput} /></div>`;
}

function History() {
  const list = groups.value;
  const more = useTask(loadMore);
  if (conversations.value === null) return html`<div class="history"></div>`;
  if (list.length === 0) return html`<div class="history"><p class="none">${search.value ? text.chat.noneFound : text.chat.none}</p></div>`;
  return html`<div class="history">${list.map((group) => html`<section key=${group.name}><h2>${group.name}</h2>
    <ul>${group.list.map((one) => html`<${Entry} key=${one.id} one=${one} />`)}</ul></section>`)}
    ${hasMore.value && html`<button type="button" class="button plain small older" disabled=${more.isBusy} onClick=${() => void more.run()}>${text.chat.moreChats}</button>`}</div>`;
}

/** @param {{ one: import("./conversations.js").Conversation }} props */
function Entry({ one }) {
  const [isRenaming, setRenaming] = useState(false);
  const isCurrent = path.value === `/c/${one.id}` || openId.value === one.id;
  if (isRenaming) return html`<li><${Rename} one=${one} onEnd=${() => setRenaming(false)} /></li>`;
  const items = [
    { label: text.chat.rename, icon: "pencil", act: () => setRenaming(true) },
    { label: one.pinned ? text.chat.unpin : text.chat.pin, icon: "pin", act: () => void change(one.id, { pinned: !one.pinned }) },
    { label: text.chat.delete, icon: "trash", isDanger: true, act: () => remove(one) },
  ];
  return html`<li class=${isCurrent ? "current" : ""}><a class="clip" href=${`/c/${one.id}`} title=${titleOf(one)}
      aria-current=${isCurrent ? "page" : undefined}>${titleOf(one)}</a>
    <${Menu} label=${fill(text.chat.more, { title: titleOf(one) })} button=${html`<${Icon} name="more" size="small" />`} items=${items} /></li>`;
}

/** @param {{ one: import("./conversations.js").Conversation, onEnd: () => void }} props */
function Rename({ one, onEnd }) {
  const input = useRef(/** @type {HTMLInputElement | null} */ (null));
  useEffect(() => input.current?.select(), []);
  const isOver = useRef(false);
  const end = (/** @type {boolean} */ isKept) => {
    if (isOver.current) return;
    isOver.current = true;
    const title = input.current?.value.trim() ?? "";
    if (isKept && title && title !== one.title) void change(one.id, { title });
    onEnd();
  };
  const onKey = (/** @type {KeyboardEvent} */ event) => {
    if (event.key === "Enter") end(true);
    if (event.key === "Escape") { event.stopPropagation(); end(false); }
  };
  return html`<input ref=${input} class="input compact" aria-label=${text.chat.rename} defaultValue=${titleOf(one)}
    maxlength="200" onKeyDown=${onKey} onBlur=${() => end(true)} />`;
}

export async function signOut() {
  await finishRemoving();
  try { await api.delete("/api/session"); } catch (error) { toastError(error); return; }
  setMe(null);
  forget();
  go("/sign-in");
}

/** Leaves nothing of the person who was here to whoever comes next. */
export function forget() {
  forgetAll();
  conversations.value = null;
  hasMore.value = false;
  search.value = "";
}

function Foot() {
  const person = me.value?.person;
  if (!person) return null;
  const usage = me.value?.usage;
  // The day's, unless it is the month alone that is limited.
  const isMonth = !usage?.tokens_day?.limit && !!usage?.tokens_month?.limit;
  const meter = isMonth ? usage?.tokens_month : usage?.tokens_day;
  const first = adminPages().at(0);
  const words = meter && (meter.limit ? fill(isMonth ? text.chat.usageMonth : text.chat.usage, { used: number(meter.used), limit: number(meter.limit) })
    : fill(text.chat.usageOpen, { used: number(meter.used) }));
  const items = [
    first && { label: text.admin.title, icon: "shield", href: first.href },
    { label: text.account.settings, icon: "person", href: "/account" },
    { label: text.account.signOut, icon: "out", act: () => void signOut() },
  ];
  return html`<div class="sidebar-foot"><${Menu} label=${person.display_name || person.username} class="person" isNamed align="up" items=${items}
    button=${html`<span class="avatar" aria-hidden="true">${(person.display_name || person.username).slice(0, 1).toUpperCase()}</span>
      <span class="who"><span class="clip">${person.display_name || person.username}</span>
      ${meter?.limit ? html`<meter min="0" max=${meter.limit} low=${meter.limit * 0.8} high=${meter.limit * 0.95} optimum="0" value=${meter.used} title=${words} aria-label=${words}></meter>`
        : html`<br /><span class="quiet small">${words ?? person.roles.join(", ")}</span>`}</span>`} /></div>`;
}
