// First start, three screens: who you are, how the key is kept, a model. Then the chat.
import { html, signal, useEffect, useState } from "../lib.js";
import { api } from "../api.js";
import { text } from "../messages.js";
import { go, models, refreshModels, setMe, status } from "../state.js";
import { modelInUse } from "../chat/exchange.js";
import { describe } from "../chat/page.js";
import { Icon } from "../ui/icons.js";
import { CopyLine, Field, Notice } from "../ui/parts.js";
import { Door, linkToken } from "./frame.js";
import { PASSWORD_CHARS_MIN, Strength } from "./strength.js";

/** Keeps the set-up screens open after the owner exists, until the last one is left. */
export const isSettingUp = signal(false);

export function SetUpPage() {
  const [step, setStep] = useState(0);
  const [token] = useState(linkToken);
  // The button that led to a new screen is gone: keyboard and screen reader go on at its heading.
  useEffect(() => { if (step > 0) /** @type {HTMLElement | null} */ (document.querySelector(".door h1"))?.focus(); }, [step]);
  if (!token && step === 0) {
    return html`<${Door} title=${text.door.setUpTitle}><h1>${text.product}</h1><p class="lead">${text.door.setUpNoToken}</p></${Door}>`;
  }
  const end = () => { go("/", { replace: true }); isSettingUp.value = false; };
  return html`<${Door} title=${text.door.setUpTitle} isWide>
    <ol class="steps">${text.door.steps.map((name, index) =>
      html`<li class=${index < step ? "done" : ""} aria-current=${index === step ? "step" : undefined}>${name}</li>`)}</ol>
    ${step === 0 && html`<${Owner} token=${token} onDone=${() => setStep(1)} />`}
    ${step === 1 && html`<${Key} onDone=${() => setStep(2)} />`}
    ${step === 2 && html`<${FirstModel} onDone=${end} />`}</${Door}>`;
}

/** @param {{ token: string, onDone: () => void }} props */
function Owner({ token, onDone }) {
  const [displayName, setDisplayName] = useState("");
  const [username, setUsername] = useState("");
  const [isOwnChoice, setOwnChoice] = useState(false);
  const [password, setPassword] = useState("");
  const [error, setError] = useState(/** @type {any} */ (null));
  const [isBusy, setBusy] = useState(false);
  const nameAs = (/** @type {string} */ value) => {
    setDisplayName(value);
    if (!isOwnChoice) setUsername(suggested(value));
  };
  const submit = async (/** @type {Event} */ event) => {
    event.preventDefault();
    setBusy(true);
    setError(null);
    try {
      isSettingUp.value = true;
      const answer = await api.post("/api/setup", { token, username, display_name: displayName.trim(), password });
      setMe(answer?.person ? answer : await api.get("/api/me"));
      status.value = { ...status.value, state: "ready" };
      history.replaceState(null, "", "/setup"); // the token is used up; it need not stay in the address
      await refreshModels().catch(() => {});
      onDone();
    } catch (cause) {
      setError(cause);
      setBusy(false);
      isSettingUp.value = false;
      // Somebody else may have used the link: then there is an owner now, who can sign in.
      await api.get("/api/status").then((answer) => { status.value = { ...status.value, state: answer.state }; }).catch(() => {});
    }
  };
  const wrong = (/** @type {string} */ name) => (error?.param === name ? error.message : null);
  const isElse = error && !["username", "display_name", "password"].includes(error.param);
  return html`<h1>${text.door.setUpTitle}</h1><p class="lead">${text.door.setUpLead}</p>
    <form class="stack" onSubmit=${submit}>${isElse && html`<${Notice} kind="bad" role="alert">${error.message}</${Notice}>`}
      <${Field} label=${text.door.displayName} name="display_name" value=${displayName} onInput=${nameAs} autocomplete="name" required autofocus maxlength=${64} error=${wrong("display_name")} />
      <${Field} label=${text.door.username} name="username" value=${username} onInput=${(/** @type {string} */ value) => { setOwnChoice(true); setUsername(value); }}
        autocomplete="username" required maxlength=${32} hint=${text.door.usernameHint} error=${wrong("username")} />
      <div><${Field} label=${text.door.password} name="password" type="password" value=${password} onInput=${setPassword} autocomplete="new-password" required maxlength=${1024} error=${wrong("password")} />
        <${Strength} value=${password} names=${[username, displayName]} /></div>
      <button class="button primary wide" disabled=${isBusy || !username || !displayName.trim() || [...password].length < PASSWORD_CHARS_MIN}>${text.door.create}</button></form>`;
}

/** @param {string} name @returns {string} a sign-in name made of it */
function suggested(name) {
  return name.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase().split(/\s+/)[0]?.replace(/[^a-z0-9_-]/g, "").slice(0, 32) ?? "";
}

/** @param {{ onDone: () => void }} props */
function Key({ onDone }) {
  return html`<h1 tabindex="-1">${text.door.keyTitle}</h1><p class="lead">${text.door.keyLead}</p><div class="stack">
    <div class="choice"><h2><${Icon} name="key" size="small" />${text.door.keyFileTitle}<span class="badge">${text.door.keyFileNow}</span></h2><p>${text.door.keyFile}</p></div>
    <div class="choice"><h2><${Icon} name="lock" size="small" />${text.door.keyPassTitle}<span class="badge accent">${text.door.keyPassRecommended}</span></h2>
      <p>${text.door.keyPass}</p><${CopyLine} value=${text.door.keyCommand} /></div>
    <p class="quiet small">${text.door.keyLater}</p>
    <button type="button" class="button primary wide" onClick=${onDone}>${text.door.next}</button></div>`;
}

/** @param {{ onDone: () => void }} props */
function FirstModel({ onDone }) {
  const first = models.value.find((one) => one.id === modelInUse());
  const isGuide = !first || first.id === "guide";
  return html`<h1 tabindex="-1">${text.door.modelTitle}</h1><p class="lead">${text.door.modelLead}</p><div class="stack">
    <div class="choice"><h2><${Icon} name="cpu" size="small" />${isGuide ? text.door.modelGuide : first.id}<span class=${`badge ${first?.state === "loading" ? "warn" : "good"}`}>${first?.state === "loading" ? text.chat.modelStates.loading : text.door.modelGuideState}</span></h2>
      <p>${isGuide ? text.door.modelGuideAbout : ""} ${first ? describe(first) : ""}</p></div>
    <div class="choice"><h2><${Icon} name="plus" size="small" />${text.door.modelAdd}</h2><p>${text.door.modelAddAbout}</p><${CopyLine} value=${text.door.modelCommand} /></div>
    <button type="button" class="button primary wide" onClick=${onDone}>${text.door.begin}</button></div>`;
}
