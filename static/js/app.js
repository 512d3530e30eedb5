// The start of the web app: asks the server where things stand, then shows the page of the address.
import { effect, html, render, useEffect } from "./lib.js";
import { api, watchRefusals } from "./api.js";
import { text } from "./messages.js";
import { go, hasSessionEnded, isFolded, may, me, path, phase, refreshMe, refreshModels, setMe, status, toastError } from "./state.js";
import { ChatPage } from "./chat/page.js";
import { forget, newChat, Sidebar } from "./chat/sidebar.js";
import { InvitePage, SignInPage } from "./door/sign-in.js";
import { SetUpPage, isSettingUp } from "./door/set-up.js";
import { AwayPage, SealedPage } from "./door/sealed.js";
import { AccountPage } from "./account/page.js";
import { AdminPage } from "./admin/page.js";
import { adminPages } from "./admin/pages.js";
import { Toasts } from "./ui/parts.js";
import { Icon } from "./ui/icons.js";

async function begin() {
  try {
    const answer = await api.get("/api/status");
    status.value = { ...answer, organisation: answer.organisation || text.product };
    if (status.value.state !== "setup") await refreshMe().catch(onlyIfSignedOut);
    if (me.value && may("chat")) await refreshModels().catch(toastError);
    phase.value = "ready";
  } catch (/** @type {any} */ error) {
    phase.value = error.code === "sealed" ? "sealed" : "away";
  }
}

/** @param {any} error */
function onlyIfSignedOut(error) {
  if (error.status !== 401) throw error;
}

watchRefusals((error) => {
  if (error.code === "sealed") phase.value = "sealed";
  else if (!me.value) return;
  // Signed in or out in another window of this browser: who is it now?
  else if (error.code === "cross_origin") void refreshMe().catch(() => {});
  else { setMe(null); hasSessionEnded.value = true; }
});

/** @type {string | null} */
let person = null;
effect(() => {
  const id = me.value?.person.id ?? null;
  if (id && person && id !== person) { forget(); if (path.value.startsWith("/c/")) go("/", { replace: true }); }
  if (id) person = id;
});

/** What the address shows: one page outside, or one inside the shell. */
function Page() {
  const at = path.value;
  if (phase.value === "loading") return html`<main class="waiting" id="content"><p role="status">${text.loading}</p></main>`;
  if (phase.value === "sealed") return html`<${SealedPage} onOpen=${begin} />`;
  if (phase.value === "away") return html`<${AwayPage} onOpen=${begin} />`;
  if (status.value.state === "setup" || isSettingUp.value) return html`<${SetUpPage} />`;
  if (at === "/invite") return html`<${InvitePage} />`;
  if (!me.value) return html`<${SignInPage} />`;
  return html`<${Shell} at=${at} />`;
}

/** @param {{ at: string }} props */
function Shell({ at }) {
  useEffect(() => { document.title = titleOf(at); }, [at]);
  return html`<a class="skip-link" href="#content" onClick=${skip}>${text.skip}</a>
    <div class=${`shell ${isFolded.value ? "folded" : ""}`}><${Sidebar} />
      <main class="main" id="content" tabindex="-1"><${Inside} at=${at} /></main></div>`;
}

/** @param {MouseEvent} event */
function skip(event) {
  event.preventDefault();
  const field = /** @type {HTMLElement | null} */ (document.querySelector(".composer textarea") ?? document.getElementById("content"));
  field?.focus();
}

/** @param {{ at: string }} props */
function Inside({ at }) {
  if (at === "/account") return html`<${Top} /><div class="scroll"><${AccountPage} /></div>`;
  if (at.startsWith("/admin")) return html`<${Top} /><div class="scroll"><${AdminPage} at=${at} /></div>`;
  if (!may("chat")) return html`<${Elsewhere} />`;
  return html`<${ChatPage} id=${at.match(/^\/c\/([\w-]+)$/)?.[1] ?? null} />`;
}

/** Who may not chat lands on the first page that they may see. */
function Elsewhere() {
  useEffect(() => go(adminPages().at(0)?.href ?? "/account", { replace: true }), []);
  return null;
}

function Top() {
  if (!isFolded.value) return html`<div class="bar"></div>`;
  return html`<header class="bar"><button type="button" class="icon-button" aria-label=${text.chat.menuOpen}
    onClick=${() => { isFolded.value = false; }}><${Icon} name="panel" /></button></header>`;
}

/** @param {string} at */
function titleOf(at) {
  const page = at === "/account" ? text.account.title : at.startsWith("/admin") ? text.admin.title : "";
  return page ? `${page} · ${text.product}` : text.product;
}

addEventListener("keydown", (event) => {
  if ((event.metaKey || event.ctrlKey) && !event.shiftKey && event.key.toLowerCase() === "k" && me.value && may("chat")) {
    event.preventDefault();
    newChat();
  }
});

/** @type {HTMLElement | null} */
const root = document.getElementById("app");
if (root) render(html`<${Page} /><${Toasts} />`, root);
void begin();
