// Account: profile, appearance, usage, password, sessions, keys.
import { html, useState } from "../lib.js";
import { api } from "../api.js";
import { fill, text } from "../messages.js";
import { may, me, refreshMe, toast } from "../state.js";
import { Time } from "../time.js";
import { Meter } from "../ui/limits.js";
import { Loaded, TaskForm, useLoad, useTask } from "../ui/load.js";
import { Field, Notice } from "../ui/parts.js";
import { Figures, Heads } from "../ui/usage.js";
import { PASSWORD_CHARS_MIN, Strength } from "../door/strength.js";
import { signOut } from "../chat/sidebar.js";
import { Keys } from "./keys.js";

export function AccountPage() {
  return html`<div class="page narrow"><div class="page-head"><h1>${text.account.title}</h1>
      <button type="button" class="button" onClick=${() => void signOut()}>${text.account.signOut}</button></div>
    <${Profile} />${may("keys.own") && html`<${Keys} />`}<${Usage} /><${Password} /><${Sessions} /><${Appearance} /></div>`;
}

function Profile() {
  const person = /** @type {import("../state.js").Person} */ (me.value?.person);
  const [name, setName] = useState(person.display_name);
  const task = useTask(async () => { await api.patch("/api/me", { display_name: name.trim() }); await refreshMe(); toast(text.saved); });
  return html`<section class="section"><h2>${text.account.profile}</h2>
    <p class="about">${fill(text.account.signedInAs, { username: person.username, roles: person.roles.join(", ") })}</p>
    <${TaskForm} class="form" task=${task}><${Field} label=${text.door.displayName} value=${name} onInput=${setName} autocomplete="name" maxlength=${64} />
      <button class="button" disabled=${task.isBusy || !name.trim() || name.trim() === person.display_name}>${text.save}</button></${TaskForm}></section>`;
}

function Usage() {
  const usage = me.value?.usage;
  if (!usage) return null;
  return html`<section class="section"><h2>${text.account.usage}</h2><p class="about">${text.account.usageAbout}</p>
    <${Meters} usage=${usage} />
    ${usage.groups?.map((one) => html`<h3 key=${one.id}>${fill(text.account.usageOfGroup, { name: one.name })}</h3><${Meters} usage=${one.usage} />`)}<${UsageDays} /></section>`;
}

function UsageDays() {
  const load = useLoad("/api/me/usage?group_by=model");
  /** @type {import("../ui/usage.js").Report | null} */
  const report = load.data;
  if (!report || report.rows.length === 0) return null;
  return html`<h3>${text.account.usageDays}</h3><div class="table-wrap" tabindex="0" role="region" aria-label=${text.account.usageDays}><table class="table"><thead><tr><th scope="col">${text.usage.model}</th><${Heads} report=${report} /></tr></thead>
    <tbody>${report.rows.map((row) => html`<tr key=${row.model}><td class="name">${row.model}</td><${Figures} used=${row.used} report=${report} /></tr>`)}</tbody></table></div>`;
}

/** @param {{ usage: { tokens_day?: import("../state.js").Meter, tokens_month?: import("../state.js").Meter, tokens_minute?: import("../state.js").Meter } }} props */
function Meters({ usage }) {
  const meters = [[text.account.month, usage.tokens_month], [text.account.day, usage.tokens_day], [text.account.minute, usage.tokens_minute]];
  return html`<dl class="figures-row">${meters.map(([name, meter]) => meter && html`<${Meter} name=${name} meter=${meter} />`)}</dl>`;
}

function Password() {
  const [current, setCurrent] = useState("");
  const [next, setNext] = useState("");
  const task = useTask(async () => {
    await api.post("/api/me/password", { current, new: next });
    setCurrent("");
    setNext("");
    toast(text.account.changed);
    await refreshMe();
  });
  return html`<section class="section"><h2>${text.account.password}</h2><p class="about">${text.account.passwordAbout}</p>
    <${TaskForm} class="form" task=${task}>
      <input type="text" name="username" autocomplete="username" value=${me.value?.person.username} hidden readonly />
      <${Field} label=${text.account.current} type="password" value=${current} onInput=${setCurrent} autocomplete="current-password" maxlength=${1024} />
      <div><${Field} label=${text.account.next} type="password" value=${next} onInput=${setNext} autocomplete="new-password" maxlength=${1024} />
        <${Strength} value=${next} names=${[me.value?.person.username ?? ""]} /></div>
      <button class="button" disabled=${task.isBusy || !current || [...next].length < PASSWORD_CHARS_MIN}>${text.account.change}</button></${TaskForm}></section>`;
}

function Sessions() {
  const load = useLoad("/api/me/sessions");
  const task = useTask(async (/** @type {string} */ id) => { await api.delete(`/api/me/sessions/${id}`); toast(text.account.ended); await load.reload(); });
  return html`<section class="section"><h2>${text.account.sessions}</h2><p class="about">${text.account.sessionsAbout}</p>
    ${task.error && html`<${Notice} kind="bad" role="alert">${task.error}</${Notice}>`}
    <${Loaded} from=${load}>${(/** @type {any} */ data) => html`<ul class="list">${data.sessions.map((/** @type {any} */ one) => html`<li key=${one.id}>
      <div class="grow"><div>${browserOf(one.user_agent)} ${one.current && html`<span class="badge accent">${text.account.thisOne}</span>`}</div>
        <div class="sub">${one.address} · <${Time} at=${one.last_seen_at} /></div></div>
      ${!one.current && html`<button type="button" class="button small" disabled=${task.isBusy} onClick=${() => void task.run(one.id)}>${text.account.end}</button>`}</li>`)}</ul>`}</${Loaded}></section>`;
}

/** @param {string | null} agent @returns {string} in words that a person knows */
function browserOf(agent) {
  const browser = [["Firefox", /Firefox\//], ["Edge", /Edg\//], ["Chrome", /Chrom(?:e|ium)\//], ["Safari", /Safari\//]]
    .find(([, mark]) => /** @type {RegExp} */ (mark).test(agent ?? ""))?.[0] ?? "A program";
  const system = [["Android", /Android/], ["iPhone", /iPhone/], ["iPad", /iPad/], ["Windows", /Windows/], ["macOS", /Mac OS/], ["Linux", /Linux/]]
    .find(([, mark]) => /** @type {RegExp} */ (mark).test(agent ?? ""))?.[0];
  return system ? `${browser} on ${system}` : String(browser);
}

function Appearance() {
  const [theme, setTheme] = useState(document.documentElement.dataset.theme ?? "system");
  const choose = (/** @type {string} */ value) => {
    setTheme(value);
    if (value === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = value;
    try { localStorage.setItem("strongroom.theme", value); } catch { /* it holds until the page is left */ }
  };
  return html`<section class="section"><h2>${text.account.theme}</h2><p class="about">${text.account.themeAbout}</p>
    <fieldset class="segmented"><legend class="visually-hidden">${text.account.theme}</legend>
      ${Object.entries(text.account.themes).map(([value, name]) => html`<label><input type="radio" name="theme" value=${value}
        checked=${theme === value} onChange=${() => choose(value)} /><span>${name}</span></label>`)}</fieldset></section>`;
}
