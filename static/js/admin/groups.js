// Groups of people, on the page of people: who is in which, and what they may use together.
import { html, useState } from "../lib.js";
import { api } from "../api.js";
import { fill, text as common } from "../messages.js";
import { admin } from "../messages-admin.js";
import { may, toast } from "../state.js";
import { number } from "../time.js";
import { Icon } from "../ui/icons.js";
import { LimitFields, areLimits, limitsOf, spent, typedOf } from "../ui/limits.js";
import { Loaded, TaskForm, useLoad, useTask } from "../ui/load.js";
import { Confirm, Dialog, Empty, Field, Menu, Notice } from "../ui/parts.js";

const text = admin.groups;
/** So many people are taken in or out by one request. */
const AT_ONCE = 32;
/** @typedef {{ used: number, limit: number | null }} Used */
/** @typedef {{ id: string, name: string, limits: Record<string, number | null>, members: { id: string, username: string }[], usage: { tokens_minute: Used, tokens_day: Used, tokens_month: Used } | null }} Group */
/** @typedef {{ id: string, username: string, display_name: string }} Person */

/** @param {{ people: Person[] }} props everybody */
export function Groups({ people }) {
  const load = useLoad("/api/admin/groups");
  const [open, setOpen] = useState(/** @type {{ kind: "edit" | "members" | "delete", group: Group | null } | null} */ (null));
  const close = () => setOpen(null);
  return html`<section class="section spaced groups"><div class="row-apart"><h2>${text.title}</h2>
      ${may("people.manage") && html`<button type="button" class="button" onClick=${() => setOpen({ kind: "edit", group: null })}><${Icon} name="plus" size="small" />${text.new}</button>`}</div>
    <p class="about">${text.lead}</p>
    <${Loaded} from=${load}>${(/** @type {{ groups: Group[], most: number, unreadable: string[] }} */ data) => html`
      ${data.unreadable.map((id) => html`<${Notice} key=${id} kind="warn"><p>${fill(text.unreadable, { id })}</p>
        ${may("people.manage") && html`<button type="button" class="button small" onClick=${() => setOpen({ kind: "delete", group: unreadable(id) })}>${text.delete}</button>`}</${Notice}>`)}
      ${data.groups.length === 0 ? html`<${Empty} title=${text.none}><p>${text.noneAbout}</p></${Empty}>` : html`<${Table} list=${data.groups} onOpen=${setOpen} />`}`}</${Loaded}>
    ${open?.kind === "edit" && html`<${Edit} group=${open.group} onClose=${close} onChange=${load.reload} />`}
    ${open?.kind === "members" && open.group && html`<${Members} group=${open.group} people=${people} onClose=${close} onChange=${load.reload} />`}
    ${open?.kind === "delete" && open.group && html`<${Delete} group=${open.group} onClose=${close} onChange=${load.reload} />`}</section>`;
}

/** One of which only the id is known. @param {string} id @returns {Group} */
const unreadable = (id) => ({ id, name: id, limits: {}, members: [], usage: null });

/** @param {{ list: Group[], onOpen: (open: any) => void }} props */
function Table({ list, onOpen }) {
  const used = (/** @type {Group} */ one, /** @type {"tokens_minute" | "tokens_day" | "tokens_month"} */ name) => one.usage ? spent(one.usage[name]) : "";
  return html`<div class="table-wrap" tabindex="0" role="region" aria-label=${text.title}><table class="table">
    <thead><tr><th>${text.name}</th><th>${text.members}</th><th>${text.day}</th><th>${text.month}</th><th><span class="visually-hidden">${common.admin.title}</span></th></tr></thead>
    <tbody>${list.map((one) => html`<tr key=${one.id}><td><div class="name">${one.name}</div></td><td>${number(one.members.length)}</td>
      <td class="nowrap">${used(one, "tokens_day")}</td><td class="nowrap">${used(one, "tokens_month")}</td>
      <td class="end">${may("people.manage") && html`<${Menu} label=${fill(text.of, { name: one.name })} button=${html`<${Icon} name="more" size="small" />`} items=${[
        { label: text.members, icon: "people", act: () => onOpen({ kind: "members", group: one }) },
        { label: text.edit, icon: "pencil", act: () => onOpen({ kind: "edit", group: one }) },
        { label: text.delete, icon: "trash", isDanger: true, act: () => onOpen({ kind: "delete", group: one }) },
      ]} />`}</td></tr>`)}</tbody></table></div>`;
}

/** @param {{ group: Group | null, onClose: () => void, onChange: () => Promise<void> }} props a new one where there is none */
function Edit({ group, onClose, onChange }) {
  const [name, setName] = useState(group?.name ?? "");
  const [typed, setTyped] = useState(typedOf(group?.limits));
  const task = useTask(async () => {
    const body = { name: name.trim(), limits: limitsOf(typed, group?.limits) };
    if (group) await api.patch(`/api/admin/groups/${group.id}`, body);
    else await api.post("/api/admin/groups", body);
    toast(fill(text.saved, { name: name.trim() }));
    onClose();
    await onChange();
  });
  return html`<${Dialog} title=${group ? fill(text.editTitle, { name: group.name }) : text.newTitle} onClose=${onClose}><${TaskForm} task=${task}>
    <${Field} label=${text.name} value=${name} onInput=${setName} maxlength=${60} required autofocus />
    <${LimitFields} legend=${text.limits} hint=${text.limitsHint} typed=${typed} onChange=${setTyped} />
    <div class="dialog-foot"><button type="button" class="button" onClick=${onClose}>${common.cancel}</button>
      <button class="button primary" disabled=${task.isBusy || !name.trim() || !areLimits(typed)}>${common.save}</button></div></${TaskForm}></${Dialog}>`;
}

/** @param {{ group: Group, people: Person[], onClose: () => void, onChange: () => Promise<void> }} props */
function Members({ group, people, onClose, onChange }) {
  const before = group.members.map((one) => one.id);
  const [chosen, setChosen] = useState(before);
  const [filter, setFilter] = useState("");
  const toggle = (/** @type {string} */ id) => setChosen(chosen.includes(id) ? chosen.filter((one) => one !== id) : [...chosen, id]);
  const task = useTask(async () => {
    const add = chosen.filter((id) => !before.includes(id));
    const remove = before.filter((id) => !chosen.includes(id));
    while (add.length > 0 || remove.length > 0) {
      await api.patch(`/api/admin/groups/${group.id}`, { add: add.splice(0, AT_ONCE), remove: remove.splice(0, AT_ONCE) });
    }
    toast(fill(text.saved, { name: group.name }));
    onClose();
    await onChange();
  });
  const matching = people.filter((one) => `${one.username} ${one.display_name}`.toLowerCase().includes(filter.toLowerCase()));
  return html`<${Dialog} title=${fill(text.membersTitle, { name: group.name })} onClose=${onClose}><${TaskForm} task=${task}>
    <p class="quiet small">${text.membersAbout}</p>
    <${Field} label=${admin.people.filter} type="search" value=${filter} onInput=${setFilter} autofocus />
    <fieldset class="plain-set"><legend class="label">${text.members}</legend>${matching.map((one) => html`<label class="check" key=${one.id}><input type="checkbox"
      checked=${chosen.includes(one.id)} onChange=${() => toggle(one.id)} /><span>${one.display_name} <span class="quiet">${one.username}</span></span></label>`)}</fieldset>
    <div class="dialog-foot"><button type="button" class="button" onClick=${onClose}>${common.cancel}</button>
      <button class="button primary" disabled=${task.isBusy}>${common.save}</button></div></${TaskForm}></${Dialog}>`;
}

/** @param {{ group: Group, onClose: () => void, onChange: () => Promise<void> }} props */
function Delete({ group, onClose, onChange }) {
  return html`<${Confirm} title=${fill(text.deleteTitle, { name: group.name })} about=${text.deleteAbout} action=${text.delete} isDanger onClose=${onClose}
    onDo=${async () => { await api.delete(`/api/admin/groups/${group.id}`); toast(fill(text.deleted, { name: group.name })); await onChange(); }} />`;
}
