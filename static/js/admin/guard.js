// The guard: try a text, and see the policy in force.
import { html, useState } from "../lib.js";
import { api } from "../api.js";
import { fill } from "../messages.js";
import { admin } from "../messages-admin.js";
import { Loaded, useLoad } from "../ui/load.js";
import { Notice, Select } from "../ui/parts.js";
import { Head } from "./head.js";

const text = admin.guard;

export function GuardPage() {
  const load = useLoad("/api/admin/guard");
  return html`<${Head} title=${text.title} lead=${text.lead} /><${Try} />
    <section class="section spaced"><h2>${text.policy}</h2><${Loaded} from=${load}>${(/** @type {any} */ data) => html`<${Policy} data=${data} />`}</${Loaded}></section>`;
}

function Try() {
  const [value, setValue] = useState(text.sample);
  const [direction, setDirection] = useState("input");
  const [result, setResult] = useState(/** @type {any} */ (null));
  const [error, setError] = useState("");
  const run = async (/** @type {Event} */ event) => {
    event.preventDefault();
    setError("");
    try { setResult(await api.post("/api/admin/guard/test", { text: value, direction })); } catch (/** @type {any} */ cause) { setError(cause.message); }
  };
  return html`<section class="section"><h2>${text.test}</h2><p class="about">${text.testAbout}</p>
    <form class="stack" onSubmit=${run}><div class="field"><label for="guard-text">${text.text}</label>
        <textarea id="guard-text" class="input" rows="4" maxlength="20000" value=${value} onInput=${(/** @type {any} */ event) => setValue(event.currentTarget.value)}></textarea></div>
      <div class="filters"><${Select} label=${text.direction} compact value=${direction} options=${[["input", text.input], ["output", text.output]]} onChange=${setDirection} />
        <button class="button primary" disabled=${!value}>${text.run}</button></div></form>
    <div class="result stack-tight" role="status">${error && html`<${Notice} kind="bad">${error}</${Notice}>`}${result && html`<${Result} result=${result} />`}</div></section>`;
}

/** @param {{ result: any }} props */
function Result({ result }) {
  const words = /** @type {Record<string, string>} */ (text.results)[result.action] ?? result.action;
  const kind = result.action === "allow" ? "good" : result.action === "refuse" ? "bad" : "warn";
  return html`<${Notice} kind=${kind} icon="shield">${words}</${Notice}>
    ${result.findings.length === 0 ? html`<p class="quiet small">${text.noFindings}</p>`
      : html`<div class="table-wrap" tabindex="0" role="region" aria-label=${text.test}><table class="table"><thead><tr><th>${text.detector}</th><th>${text.category}</th><th class="end">${text.score}</th><th>${text.place}</th></tr></thead>
        <tbody>${result.findings.map((/** @type {any} */ one) => html`<tr><td>${one.detector}</td><td>${one.category}</td><td class="end">${percent(one.score)}</td>
          <td>${one.span ? fill(text.characters, { from: one.span.start ?? one.span[0], to: one.span.end ?? one.span[1] }) : "–"}</td></tr>`)}</tbody></table></div>`}`;
}

/** @param {number} score */
const percent = (score) => (typeof score === "number" ? `${Math.round(score * 100)} %` : "–");

/** @param {{ data: any }} props */
function Policy({ data }) {
  const detectors = data.detectors ?? [];
  if (detectors.length > 0 && typeof detectors[0] === "object") {
    const columns = Object.keys(detectors[0]).filter((key) => typeof detectors[0][key] !== "object");
    return html`<div class="table-wrap" tabindex="0" role="region" aria-label=${text.policy}><table class="table"><thead><tr>${columns.map((name) => html`<th>${name.replaceAll("_", " ")}</th>`)}</tr></thead>
      <tbody>${detectors.map((/** @type {any} */ one) => html`<tr>${columns.map((name) => html`<td>${String(one[name])}</td>`)}</tr>`)}</tbody></table></div>
      ${data.policy && html`<pre class="raw" tabindex="0">${JSON.stringify(data.policy, null, 2)}</pre>`}`;
  }
  return html`<pre class="raw" tabindex="0">${JSON.stringify(data, null, 2)}</pre>`;
}
