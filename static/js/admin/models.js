// Models with who may use them, and the permission matrix of the roles.
import { html, useState } from "../lib.js";
import { api } from "../api.js";
import { fill, text as common } from "../messages.js";
import { admin } from "../messages-admin.js";
import { may, refreshModels, toast } from "../state.js";
import { number, short } from "../time.js";
import { Icon } from "../ui/icons.js";
import { Loaded, TaskForm, useLoad, useTask } from "../ui/load.js";
import { CopyLine, Dialog, Empty, Notice } from "../ui/parts.js";
import { Head } from "./head.js";
import { RoleChecks } from "./people.js";

/** @typedef {{ id: string, architecture: string | null, kind: "chat" | "embedding" | "reranker" | null, parameters: number | null, quantization: string | null, context_tokens: number | null,
 *   state: "ready" | "loading" | "failed", reason: string | null, default: boolean, sha256: string | null, roles: string[] | null }} ServedModel */

/** The roles that may use models at all; an auditor may not. Who manages models need not be allowed to read the list of roles. */
const roleNames = ["owner", "admin", "operator", "member", "service"];
/** @type {Record<ServedModel["state"], string>} */
const badges = { ready: "good", loading: "warn", failed: "bad" };

export function ModelsPage() {
  const text = admin.models;
  const load = useLoad("/api/admin/models");
  const [changing, setChanging] = useState(/** @type {ServedModel | null} */ (null));
  return html`<${Head} title=${text.title} lead=${text.lead} />
    <${Loaded} from=${load}>${(/** @type {{ models: ServedModel[] }} */ data) => data.models.length === 0
      ? html`<${Empty} title=${text.none}><p>${text.noneAbout}</p></${Empty}>`
      : html`${data.models.filter((one) => one.state === "failed").map((one) => html`<div class="failed-model"><${Notice} kind="bad"><strong>${one.id}</strong> ${text.states.failed}: ${one.reason}</${Notice}></div>`)}
        <div class="table-wrap" tabindex="0" role="region" aria-label=${text.title}><table class="table">
        <thead><tr><th>${text.name}</th><th class="end">${text.size}</th><th>${text.quantization}</th><th class="end">${text.context}</th><th>${text.state}</th><th>${text.access}</th><th>${text.digest}</th></tr></thead>
        <tbody>${data.models.map((one) => html`<${Row} key=${one.id} one=${one} onChange=${() => setChanging(one)} />`)}</tbody></table></div>`}</${Loaded}>
    <section class="section spaced"><h2>${text.addTitle}</h2><p class="about">${text.addAbout}</p><${CopyLine} value=${text.command} /></section>
    ${changing && html`<${Access} one=${changing} onClose=${() => setChanging(null)} onChange=${load.reload} />`}`;
}

/** @param {{ one: ServedModel, onChange: () => void }} props */
function Row({ one, onChange }) {
  const text = admin.models;
  const who = one.roles === null ? text.everybody : one.roles.length === 0 ? text.nobody : one.roles.join(", ");
  return html`<tr><td><span class="name">${one.id}</span> ${one.default && html`<span class="badge accent">${text.default}</span>`}<div class="quiet">${one.architecture}${one.kind && one.kind !== "chat" && ` · ${text.kinds[one.kind]}`}</div></td>
    <td class="end">${one.parameters ? short(one.parameters) : "–"}</td><td>${one.quantization ?? "–"}</td><td class="end">${one.context_tokens ? number(one.context_tokens) : "–"}</td>
    <td><span class=${`badge ${badges[one.state]}`}>${text.states[one.state]}</span></td>
    <td><div class="row"><span>${who}</span>${may("models.manage") && html`<button type="button" class="button small" aria-label=${fill(text.changeOf, { name: one.id })} onClick=${onChange}>${text.change}</button>`}</div></td>
    <td class="mono" title=${one.sha256}>${String(one.sha256 ?? "–").slice(0, 16)}</td></tr>`;
}

/** @param {{ one: ServedModel, onClose: () => void, onChange: () => Promise<void> }} props */
function Access({ one, onClose, onChange }) {
  const text = admin.models;
  const [isForAll, setForAll] = useState(one.roles === null);
  const [roles, setRoles] = useState(one.roles ?? roleNames);
  const task = useTask(async () => {
    await api.patch(`/api/admin/models/${one.id}`, { roles: isForAll ? null : roles });
    toast(fill(text.accessSaved, { name: one.id }));
    onClose();
    await Promise.all([onChange(), refreshModels()]);
  });
  const choice = (/** @type {boolean} */ value, /** @type {string} */ words) => html`<label class="check"><input type="radio" name="access" checked=${isForAll === value}
    onChange=${() => setForAll(value)} /><span>${words}</span></label>`;
  return html`<${Dialog} title=${fill(text.accessTitle, { name: one.id })} onClose=${onClose}><${TaskForm} task=${task}>
    <p class="quiet small">${text.accessAbout}</p>
    <fieldset class="plain-set"><legend class="visually-hidden">${text.access}</legend>${choice(true, text.accessAll)}${choice(false, text.accessSome)}</fieldset>
    ${!isForAll && html`<${RoleChecks} names=${[...new Set([...roleNames, ...roles])]} chosen=${roles} onChange=${setRoles} />`}
    <div class="dialog-foot"><button type="button" class="button" onClick=${onClose}>${common.cancel}</button>
      <button class="button primary" disabled=${task.isBusy || (!isForAll && roles.length === 0)}>${common.save}</button></div></${TaskForm}></${Dialog}>`;
}

export function RolesPage() {
  const text = admin.roles;
  const load = useLoad("/api/admin/roles");
  return html`<${Head} title=${text.title} lead=${text.lead} />
    <${Loaded} from=${load}>${(/** @type {any} */ data) => html`<div class="table-wrap" tabindex="0" role="region" aria-label=${text.title}><table class="table">
      <thead><tr><th>${text.permission}</th>${data.roles.map((/** @type {any} */ role) => html`<th class="centre" scope="col">${role.name}</th>`)}</tr></thead>
      <tbody>${data.permissions.map((/** @type {any} */ one) => html`<tr key=${one.name}><th scope="row" class="row-head"><span>${one.meaning}</span><span class="mono quiet">${one.name}</span></th>
        ${data.roles.map((/** @type {any} */ role) => html`<td class="centre">${role.permissions.includes(one.name)
          ? html`<span class="mark state-met"><${Icon} name="check" size="small" /><span class="visually-hidden">${text.yes}</span></span>`
          : html`<span class="mark quiet"><${Icon} name="dash" size="small" /><span class="visually-hidden">${text.no}</span></span>`}</td>`)}</tr>`)}</tbody></table></div>`}</${Loaded}>`;
}
