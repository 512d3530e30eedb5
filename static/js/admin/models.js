// Models, and the permission matrix of the roles.
import { html } from "../lib.js";
import { admin } from "../messages-admin.js";
import { number, short } from "../time.js";
import { Icon } from "../ui/icons.js";
import { Loaded, useLoad } from "../ui/load.js";
import { CopyLine, Empty } from "../ui/parts.js";
import { Head } from "./head.js";

export function ModelsPage() {
  const text = admin.models;
  const load = useLoad("/api/admin/models");
  return html`<${Head} title=${text.title} lead=${text.lead} />
    <${Loaded} from=${load}>${(/** @type {any} */ data) => data.models.length === 0
      ? html`<${Empty} title=${text.none}><p>${text.noneAbout}</p></${Empty}>`
      : html`<div class="table-wrap" tabindex="0" role="region" aria-label=${text.title}><table class="table"><thead><tr><th>${text.name}</th><th class="end">${text.size}</th><th>${text.quantization}</th><th class="end">${text.context}</th><th>${text.state}</th><th>${text.digest}</th></tr></thead>
        <tbody>${data.models.map((/** @type {any} */ one) => html`<tr key=${one.id}><td><span class="name">${one.id}</span> ${one.default && html`<span class="badge accent">${text.default}</span>`}<div class="quiet">${one.architecture}</div></td>
          <td class="end">${one.parameters ? short(one.parameters) : "–"}</td><td>${one.quantization ?? "–"}</td><td class="end">${one.context_tokens ? number(one.context_tokens) : "–"}</td>
          <td><span class=${`badge ${one.state === "ready" ? "good" : one.state === "failed" ? "bad" : "warn"}`}>${one.state}</span></td>
          <td class="mono" title=${one.sha256}>${String(one.sha256 ?? "–").slice(0, 16)}</td></tr>`)}</tbody></table></div>`}</${Loaded}>
    <section class="section spaced"><h2>${text.addTitle}</h2><p class="about">${text.addAbout}</p><${CopyLine} value=${text.command} /></section>`;
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
