// Models: where each stands, loading and unloading, further names, who may use them; and the permission matrix of the roles.
import { html, useEffect, useState } from "../lib.js";
import { api } from "../api.js";
import { fill, text as common } from "../messages.js";
import { admin } from "../messages-admin.js";
import { may, refreshModels, toast } from "../state.js";
import { Time, mebibytes, number, short } from "../time.js";
import { Icon } from "../ui/icons.js";
import { Loaded, TaskForm, useLoad, useTask } from "../ui/load.js";
import { CopyLine, Dialog, Empty, Menu, Notice } from "../ui/parts.js";
import { Aliases, NewAlias } from "./aliases.js";
import { Head } from "./head.js";
import { RoleChecks } from "./people.js";

/** @typedef {{ id: string, architecture: string | null, kind: "chat" | "embedding" | "reranker" | null, parameters: number | null, quantization: string | null, context_tokens: number | null,
 *   state: "not_loaded" | "loading" | "ready" | "unloading" | "failed", reason: string | null, on_demand: boolean, default: boolean, sha256: string | null,
 *   roles: string[] | null, aliases: string[], progress: { percent: number | null, bytes: number, of_bytes: number } | null,
 *   memory_bytes: number | null, file_bytes: number | null, in_use: number, last_used: string | null }} ServedModel */
/** @typedef {{ models: ServedModel[], aliases: { alias: string, model: string }[], has_directory: boolean }} Served */

/** How often a page that shows a model on its way asks again. */
const ASK_AGAIN_MS = 1_000;

/** The roles that may use models at all; an auditor may not. Who manages models need not be allowed to read the list of roles. */
const roleNames = ["owner", "admin", "operator", "member", "service"];
/** @type {Record<ServedModel["state"], string>} */
const badges = { ready: "good", not_loaded: "", loading: "warn", unloading: "warn", failed: "bad" };

export function ModelsPage() {
  const text = admin.models;
  const load = useLoad("/api/admin/models");
  const [changing, setChanging] = useState(/** @type {ServedModel | null} */ (null));
  const [naming, setNaming] = useState(/** @type {ServedModel | null} */ (null));
  /** @type {ServedModel[]} */
  const served = load.data?.models ?? [];
  const isMoving = served.some((one) => one.progress !== null || one.state === "unloading");
  useEffect(() => {
    if (!isMoving) return undefined;
    const timer = setInterval(() => void load.reload(), ASK_AGAIN_MS);
    return () => clearInterval(timer);
  }, [isMoving]);
  const acts = { change: setChanging, name: setNaming, reload: load.reload };
  return html`<${Head} title=${text.title} lead=${text.lead}>${load.data?.has_directory && may("models.manage") && html`<${Scan} onDone=${load.reload} />`}</${Head}>
    <${Loaded} from=${load}>${(/** @type {Served} */ data) => data.models.length === 0
      ? html`<${Empty} title=${text.none}><p>${text.noneAbout}</p></${Empty}>`
      : html`${data.models.filter((one) => one.reason).map((one) => html`<div class="failed-model"><${Notice} kind=${one.state === "failed" ? "bad" : "warn"}><strong>${one.id}</strong> ${text.states[one.state]}: ${one.reason}</${Notice}></div>`)}
        <div class="table-wrap people" tabindex="0" role="region" aria-label=${text.title}><table class="table">
        <thead><tr><th>${text.name}</th><th>${text.state}</th><th class="end">${text.memory}</th><th>${text.used}</th><th class="end">${text.size}</th><th>${text.quantization}</th><th class="end">${text.context}</th><th>${text.access}</th><th>${text.digest}</th></tr></thead>
        <tbody>${data.models.map((one) => html`<${Row} key=${one.id} one=${one} acts=${acts} />`)}</tbody></table></div>
        <${Aliases} aliases=${data.aliases} onChange=${load.reload} />`}</${Loaded}>
    <section class="section spaced"><h2>${text.addTitle}</h2><p class="about">${text.addAbout}</p><${CopyLine} value=${text.command} /></section>
    ${naming && html`<${NewAlias} model=${naming.id} onClose=${() => setNaming(null)} onChange=${load.reload} />`}
    ${changing && html`<${Access} one=${changing} onClose=${() => setChanging(null)} onChange=${load.reload} />`}`;
}

/** @param {{ onDone: () => Promise<void> }} props */
function Scan({ onDone }) {
  const text = admin.models;
  const task = useTask(async () => {
    /** @type {{ appeared: string[], vanished: string[], refused: { file: string, reason: string }[] }} */
    const found = await api.post("/api/admin/model-scan", {});
    const refused = found.refused.map((one) => `${one.file}: ${one.reason}`);
    toast([fill(text.scanned, { appeared: number(found.appeared.length), vanished: number(found.vanished.length) }), ...refused].join(" "));
    await Promise.all([onDone(), refreshModels()]);
  });
  return html`<div><button type="button" class="button" disabled=${task.isBusy} onClick=${() => void task.run()}><${Icon} name="again" size="small" />${text.scan}</button>
    ${task.error && html`<p class="wrong" role="alert">${task.error}</p>`}</div>`;
}

/** @param {{ one: ServedModel }} props Where a model stands, and how far it is read. */
function State({ one }) {
  const text = admin.models;
  const badge = html`<span class=${`badge ${badges[one.state]}`}>${text.states[one.state]}</span>`;
  if (!one.progress) return html`${badge} ${one.state === "not_loaded" && one.on_demand && html`<div class="quiet small">${text.onDemand}</div>`}`;
  const { percent, bytes, of_bytes: all } = one.progress;
  const words = percent === null ? text.checking : fill(text.read, { percent: number(percent), bytes: mebibytes(bytes), all: mebibytes(all) });
  return html`${badge}<div class="load-bar"><progress max="100" value=${percent ?? undefined} aria-label=${fill(text.loadingOf, { name: one.id })}></progress><span class="quiet small">${words}</span></div>`;
}

/** @param {{ one: ServedModel, acts: { change: (one: ServedModel) => void, name: (one: ServedModel) => void, reload: () => Promise<void> } }} props */
function Row({ one, acts }) {
  const text = admin.models;
  // Of this model alone: another one can be ordered meanwhile.
  const order = useTask(async (/** @type {"load" | "unload" | "cancel"} */ what) => {
    try { await api.post(`/api/admin/models/${one.id}/${what}`, {}); } finally { await Promise.all([acts.reload(), refreshModels()]); }
  });
  const isStill = !one.progress && !order.isBusy;
  const items = [
    isStill && one.state !== "unloading" && { label: one.state === "ready" ? text.loadAgain : text.load, icon: "again", act: () => void order.run("load") },
    one.progress && !order.isBusy && { label: text.cancelLoad, icon: "cross", act: () => void order.run("cancel") },
    isStill && one.state === "ready" && { label: text.unload, icon: "out", act: () => void order.run("unload") },
    { label: text.addAlias, icon: "plus", act: () => acts.name(one) },
  ];
  const who = one.roles === null ? text.everybody : one.roles.length === 0 ? text.nobody : one.roles.join(", ");
  const kind = one.kind && one.kind !== "chat" && text.kinds[one.kind];
  return html`<tr><td><div class="row"><div class="grow"><span class="name">${one.id}</span> ${one.default && html`<span class="badge accent">${text.default}</span>`}
      <div class="quiet">${[one.architecture, kind, ...one.aliases].filter(Boolean).join(" · ")}</div></div>
      ${may("models.manage") && html`<${Menu} label=${fill(text.actsOf, { name: one.id })} button=${html`<${Icon} name="more" size="small" />`} align="start" items=${items} />`}</div></td>
    <td><${State} one=${one} />${order.error && html`<p class="wrong" role="alert">${order.error}</p>`}</td>
    <td class="end nowrap">${one.memory_bytes ? mebibytes(one.memory_bytes) : "–"}</td>
    <td class="nowrap">${one.in_use > 0 ? fill(text.inUse, { count: number(one.in_use) }) : one.last_used ? html`<${Time} at=${one.last_used} />` : "–"}</td>
    <td class="end">${one.parameters ? short(one.parameters) : "–"}</td><td>${one.quantization ?? "–"}</td><td class="end">${one.context_tokens ? number(one.context_tokens) : "–"}</td>
    <td><div class="row"><span>${who}</span>${may("models.manage") && html`<button type="button" class="button small" aria-label=${fill(text.changeOf, { name: one.id })} onClick=${() => acts.change(one)}>${text.change}</button>`}</div></td>
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
