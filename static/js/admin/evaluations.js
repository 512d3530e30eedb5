// Evaluations with their reports, and alerts.
import { html, useEffect, useState } from "../lib.js";
import { api } from "../api.js";
import { fill } from "../messages.js";
import { admin } from "../messages-admin.js";
import { may, models, toast } from "../state.js";
import { Time } from "../time.js";
import { Icon } from "../ui/icons.js";
import { Loaded, TaskForm, useLoad, useTask } from "../ui/load.js";
import { Empty, Notice, Select } from "../ui/parts.js";
import { Head } from "./head.js";

const ASK_AGAIN_MS = 4_000;

export function EvaluationsPage() {
  const text = admin.evaluations;
  const load = useLoad("/api/admin/evaluations");
  const runs = load.data?.runs ?? [];
  /** @type {{ id: string, title: string }[]} */
  const suites = load.data?.suites ?? [];
  /** @type {Record<string, string>} */
  const titles = Object.fromEntries(suites.map((one) => [one.id, one.title]));
  const isRunning = runs.some((/** @type {any} */ one) => one.state === "running");
  useEffect(() => {
    if (!isRunning) return undefined;
    const timer = setInterval(() => void load.reload(), ASK_AGAIN_MS);
    return () => clearInterval(timer);
  }, [isRunning]);
  return html`<${Head} title=${text.title} lead=${text.lead} />
    ${may("evals.run") && html`<${Start} suites=${suites} onStarted=${load.reload} />`}
    <${Loaded} from=${load}>${() => runs.length === 0 ? html`<${Empty} title=${text.none}><p>${text.noneAbout}</p></${Empty}>`
      : html`<div class="table-wrap" tabindex="0" role="region" aria-label=${text.title}><table class="table"><thead><tr><th>${text.suite}</th><th>${text.model}</th><th>${text.when}</th><th>${text.state}</th><th>${text.report}</th></tr></thead>
        <tbody>${runs.map((/** @type {any} */ one) => html`<tr key=${one.id}><td class="name">${titles[one.suite] ?? one.suite}</td><td>${one.model}</td><td class="nowrap"><${Time} at=${one.started_at} /></td>
          <td><span class=${`badge ${badge(one.state)}`}>${/** @type {Record<string, string>} */ (text.states)[one.state] ?? one.state}</span> <span class="quiet">${one.progress ?? one.summary ?? ""}</span></td>
          <td>${one.state === "done" && html`<a href=${`/api/admin/evaluations/${one.id}/report`} target="_blank" rel="noopener">${text.report}</a>`}</td></tr>`)}</tbody></table></div>`}</${Loaded}>`;
}

/** @param {string} state */
const badge = (state) => (state === "done" ? "good" : state === "failed" ? "bad" : "accent");

/** @param {{ suites: { id: string, title: string }[], onStarted: () => Promise<void> }} props */
function Start({ suites, onStarted }) {
  const text = admin.evaluations;
  const options = suites.map((one) => [one.id, one.title]);
  const [chosen, setSuite] = useState("");
  const suite = chosen || (suites[0]?.id ?? "");
  const able = models.value.filter((one) => one.state !== "failed");
  const [model, setModel] = useState(able.find((one) => one.default)?.id ?? able[0]?.id ?? "");
  const task = useTask(async () => { await api.post("/api/admin/evaluations", { suite, model }); toast(text.started); await onStarted(); });
  return html`<${TaskForm} class="filters" task=${task}><${Select} compact label=${text.suite} value=${suite} options=${options} onChange=${setSuite} />
      <${Select} compact label=${text.model} value=${model} options=${able.map((one) => [one.id, one.id])} onChange=${setModel} />
      <button class="button primary" disabled=${task.isBusy || !suite || !model}>${text.run}</button></${TaskForm}>`;
}

export function AlertsPage() {
  const text = admin.alerts;
  const load = useLoad("/api/admin/alerts");
  return html`<${Head} title=${text.title} lead=${text.lead} />
    <${Loaded} from=${load}>${(/** @type {any} */ data) => data.alerts.length === 0 ? html`<${Empty} title=${text.none}><p>${text.noneAbout}</p></${Empty}>`
      : html`<ul class="list">${data.alerts.map((/** @type {any} */ one) => html`<${Alert} key=${one.id} alert=${one} onDone=${load.reload} />`)}</ul>`}</${Loaded}>`;
}

/** @param {{ alert: any, onDone: () => Promise<void> }} props */
function Alert({ alert, onDone }) {
  const text = admin.alerts;
  // Of this alert alone: nobody has to wait for one before they acknowledge the next.
  const task = useTask(async () => { await api.post(`/api/admin/alerts/${alert.id}/acknowledge`, {}); toast(text.acknowledged); await onDone(); });
  const isOpen = !alert.acknowledged_at;
  const isHigh = alert.severity === "high";
  return html`<li><span class=${!isOpen ? "quiet" : isHigh ? "state-failing" : "state-due"}><${Icon} name="bell" /></span>
    <div class="grow"><div>${alert.title}</div><div class="sub">${alert.message} · <${Time} at=${alert.last_at} />${!isOpen && html` · ${fill(text.by, { name: alert.acknowledged_by ?? "" })}`}</div>
      ${task.error && html`<${Notice} kind="bad" role="alert">${task.error}</${Notice}>`}</div>
    ${isOpen && html`<span class=${`badge ${isHigh ? "bad" : "warn"}`}>${text.severities[isHigh ? "high" : "medium"]}</span>`}
    ${isOpen && may("alerts.manage") && html`<button type="button" class="button small" disabled=${task.isBusy} onClick=${() => void task.run()}>${text.acknowledge}</button>`}</li>`;
}
