// The guard: try a text, and see the policy in force.
import { html, useState } from "../lib.js";
import { api } from "../api.js";
import { fill, findings } from "../messages.js";
import { admin } from "../messages-admin.js";
import { Loaded, TaskForm, useLoad, useTask } from "../ui/load.js";
import { Notice, Select } from "../ui/parts.js";
import { Head } from "./head.js";

const text = admin.guard;

export function GuardPage() {
  const load = useLoad("/api/admin/guard");
  return html`<${Head} title=${text.title} lead=${text.lead} /><${Try} />
    <section class="section spaced"><h2>${text.policy}</h2><${Loaded} from=${load}>${(/** @type {any} */ data) => html`<${Policy} policy=${data.policy} />`}</${Loaded}></section>`;
}

function Try() {
  const [value, setValue] = useState(text.sample);
  const [direction, setDirection] = useState("input");
  const [result, setResult] = useState(/** @type {any} */ (null));
  const task = useTask(async () => { setResult(null); setResult(await api.post("/api/admin/guard/test", { text: value, direction })); });
  return html`<section class="section"><h2>${text.test}</h2><p class="about">${text.testAbout}</p>
    <${TaskForm} task=${task}><div class="field"><label for="guard-text">${text.text}</label>
        <textarea id="guard-text" class="input" rows="4" maxlength="20000" value=${value} onInput=${(/** @type {any} */ event) => setValue(event.currentTarget.value)}></textarea></div>
      <div class="filters"><${Select} label=${text.direction} compact value=${direction} options=${[["input", text.input], ["output", text.output]]} onChange=${setDirection} />
        <button class="button primary" disabled=${task.isBusy || !value}>${text.run}</button></div></${TaskForm}>
    <div class="result stack-tight" role="status">${result && html`<${Result} result=${result} />`}</div></section>`;
}

/** @typedef {"allow" | "flag" | "redact" | "refuse"} Action */
/** @typedef {{ detector: string, category: string, score: number, action: Action, start: number, end: number }} Finding */
/** @typedef {{ category: string, input: Action, output: Action }} Rule */
/** @typedef {{ categories: Rule[], limits: { text_chars_max: number, total_chars_max: number, texts_max: number }, denied_phrases: number, injection_phrases: number }} PolicyInForce */

/** @type {Record<Action, string>} */
const badges = { allow: "", flag: "warn", redact: "accent", refuse: "bad" };

/** @param {{ action: Action }} props */
const Did = ({ action }) => html`<span class=${`badge ${badges[action] ?? ""}`}>${text.actions[action] ?? action}</span>`;

/** @param {string} category */
const named = (category) => {
  const words = findings[category] ?? category;
  return words.charAt(0).toUpperCase() + words.slice(1);
};

/** @param {{ result: { action: Action, findings: Finding[], text: string } }} props */
function Result({ result }) {
  const kind = { allow: "good", flag: "warn", redact: "warn", refuse: "bad" }[result.action];
  return html`<${Notice} kind=${kind} icon="shield">${text.results[result.action]}</${Notice}>
    ${result.findings.length === 0 ? html`<p class="quiet small">${text.noFindings}</p>`
      : html`<div class="table-wrap" tabindex="0" role="region" aria-label=${text.findings}><table class="table">
        <thead><tr><th>${text.category}</th><th>${text.action}</th><th>${text.detector}</th><th class="end">${text.score}</th></tr></thead>
        <tbody>${result.findings.map((one) => html`<tr><td class="name">${named(one.category)}</td><td><${Did} action=${one.action} /></td>
          <td>${one.detector}</td><td class="end">${Math.round(one.score * 100)} %</td></tr>`)}</tbody></table></div>`}
    ${result.action === "redact" && html`<p class="quiet small">${text.becomes}</p><pre class="raw" tabindex="0">${result.text}</pre>`}`;
}

/** @param {{ policy: PolicyInForce }} props */
function Policy({ policy }) {
  const { limits } = policy;
  return html`<p class="about">${fill(text.policyAbout, { text: limits.text_chars_max.toLocaleString(), total: limits.total_chars_max.toLocaleString(),
      denied: policy.denied_phrases, injection: policy.injection_phrases })}</p>
    <div class="table-wrap" tabindex="0" role="region" aria-label=${text.policy}><table class="table">
      <thead><tr><th>${text.category}</th><th>${text.messages}</th><th>${text.answers}</th></tr></thead>
      <tbody>${policy.categories.map((one) => html`<tr><td class="name">${named(one.category)}</td>
        <td><${Did} action=${one.input} /></td><td><${Did} action=${one.output} /></td></tr>`)}</tbody></table></div>`;
}
