// Instructions that many share: system prompts, for everybody or for some roles and models.
import { html, useId, useState } from "../lib.js";
import { api } from "../api.js";
import { fill, text as common } from "../messages.js";
import { admin } from "../messages-admin.js";
import { models, toast } from "../state.js";
import { Time, number } from "../time.js";
import { Icon } from "../ui/icons.js";
import { Loaded, TaskForm, useLoad, useTask } from "../ui/load.js";
import { Confirm, Dialog, Empty, Field, Menu, Notice } from "../ui/parts.js";
import { Head } from "./head.js";

const text = admin.prompts;
const roleNames = ["owner", "admin", "operator", "member", "service"];
/** @typedef {{ id: string, name: string, text: string, roles: string[] | null, models: string[] | null, updated_at: string }} Prompt */
/** @typedef {{ id: string, says: string }} Unreadable */

export function PromptsPage() {
  const load = useLoad("/api/admin/prompts");
  const [open, setOpen] = useState(/** @type {{ kind: "edit" | "delete", prompt: Prompt | null } | null} */ (null));
  const close = () => setOpen(null);
  return html`<${Head} title=${text.title} lead=${text.lead}><button type="button" class="button primary"
      onClick=${() => setOpen({ kind: "edit", prompt: null })}><${Icon} name="plus" size="small" />${text.new}</button></${Head}>
    <${Loaded} from=${load}>${(/** @type {{ prompts: Prompt[], most: number, unreadable: Unreadable[], unreadable_count: number }} */ data) => html`
      ${data.unreadable.map((one) => html`<${Notice} key=${one.id} kind="warn"><p>${fill(text.unreadable, { id: one.says || one.id })}</p>
        <button type="button" class="button small" onClick=${() => setOpen({ kind: "delete", prompt: unreadable(one) })}>${text.delete}</button></${Notice}>`)}
      ${data.unreadable_count > data.unreadable.length && html`<${Notice} kind="warn"><p>${fill(text.unreadableMore, { count: number(data.unreadable_count - data.unreadable.length) })}</p></${Notice}>`}
      ${data.prompts.length === 0
      ? html`<${Empty} title=${text.none}><p>${text.noneAbout}</p></${Empty}>`
      : html`<${Table} list=${data.prompts} onOpen=${setOpen} /><p class="quiet small">${fill(text.count, { count: number(data.prompts.length), most: number(data.most) })}</p>`}`}</${Loaded}>
    ${open?.kind === "edit" && html`<${Edit} prompt=${open.prompt} onClose=${close} onChange=${load.reload} />`}
    ${open?.kind === "delete" && open.prompt && html`<${Delete} prompt=${open.prompt} onClose=${close} onChange=${load.reload} />`}`;
}

/** One of which only the id is known. @param {Unreadable} one @returns {Prompt} */
const unreadable = ({ id, says }) => ({ id, name: says || id, text: "", roles: null, models: null, updated_at: "" });

/** @param {{ list: Prompt[], onOpen: (open: any) => void }} props */
function Table({ list, onOpen }) {
  const all = (/** @type {string[] | null} */ names, /** @type {string} */ words) => names === null ? words : names.join(", ");
  return html`<div class="table-wrap" tabindex="0" role="region" aria-label=${text.title}><table class="table">
    <thead><tr><th>${text.name}</th><th>${text.roles}</th><th>${text.models}</th><th>${text.changed}</th><th><span class="visually-hidden">${common.admin.title}</span></th></tr></thead>
    <tbody>${list.map((one) => html`<tr key=${one.id}><td><div class="name">${one.name}</div><div class="quiet small clip">${one.text.slice(0, 80)}</div></td>
      <td>${all(one.roles, text.everybody)}</td><td>${all(one.models, text.everyModel)}</td><td class="quiet nowrap"><${Time} at=${one.updated_at} /></td>
      <td class="end"><${Menu} label=${fill(text.of, { name: one.name })} button=${html`<${Icon} name="more" size="small" />`} items=${[
        { label: text.edit, icon: "pencil", act: () => onOpen({ kind: "edit", prompt: one }) },
        { label: text.delete, icon: "trash", isDanger: true, act: () => onOpen({ kind: "delete", prompt: one }) },
      ]} /></td></tr>`)}</tbody></table></div>`;
}

/** @param {{ prompt: Prompt, onClose: () => void, onChange: () => Promise<void> }} props */
function Delete({ prompt, onClose, onChange }) {
  return html`<${Confirm} title=${fill(text.deleteTitle, { name: prompt.name })} about=${text.deleteAbout} action=${text.delete} isDanger onClose=${onClose}
    onDo=${async () => { await api.delete(`/api/admin/prompts/${prompt.id}`); toast(fill(text.deleted, { name: prompt.name })); await onChange(); }} />`;
}

/** @param {{ prompt: Prompt | null, onClose: () => void, onChange: () => Promise<void> }} props a new one where there is none */
function Edit({ prompt, onClose, onChange }) {
  const id = useId();
  const [name, setName] = useState(prompt?.name ?? "");
  const [words, setWords] = useState(prompt?.text ?? "");
  const [roles, setRoles] = useState(prompt?.roles ?? null);
  const [chosen, setChosen] = useState(prompt?.models ?? null);
  const task = useTask(async () => {
    const body = { name: name.trim(), text: words, roles, models: chosen };
    if (prompt) await api.patch(`/api/admin/prompts/${prompt.id}`, body);
    else await api.post("/api/admin/prompts", body);
    toast(fill(text.saved, { name: name.trim() }));
    onClose();
    await onChange();
  });
  const isWhole = name.trim() && words.trim() && roles?.length !== 0 && chosen?.length !== 0;
  return html`<${Dialog} title=${prompt ? fill(text.editTitle, { name: prompt.name }) : text.newTitle} onClose=${onClose}><${TaskForm} task=${task}>
    <${Field} label=${text.name} value=${name} onInput=${setName} maxlength=${60} required autofocus />
    <div class="field"><label for=${id}>${text.text}</label><textarea id=${id} class="input" rows="8" maxlength="32768" required value=${words}
      aria-describedby=${`${id}-hint`} onInput=${(/** @type {any} */ event) => setWords(event.currentTarget.value)}></textarea>
      <div class="hint" id=${`${id}-hint`}>${text.textHint}</div></div>
    <${Some} legend=${text.roles} all=${text.everybody} names=${[...new Set([...roleNames, ...roles ?? []])]} chosen=${roles} onChange=${setRoles} />
    <${Some} legend=${text.models} all=${text.everyModel} names=${[...new Set([...models.value.map((one) => one.id), ...chosen ?? []])]} chosen=${chosen} onChange=${setChosen} />
    <div class="dialog-foot"><button type="button" class="button" onClick=${onClose}>${common.cancel}</button>
      <button class="button primary" disabled=${task.isBusy || !isWhole}>${common.save}</button></div></${TaskForm}></${Dialog}>`;
}

/**
 * All of something, or these.
 * @param {{ legend: string, all: string, names: string[], chosen: string[] | null, onChange: (chosen: string[] | null) => void }} props
 */
function Some({ legend, all, names, chosen, onChange }) {
  const change = (/** @type {string} */ name) => {
    const before = chosen ?? [];
    onChange(before.includes(name) ? before.filter((one) => one !== name) : [...before, name]);
  };
  return html`<fieldset class="plain-set"><legend class="label">${legend}</legend>
    <label class="check"><input type="checkbox" checked=${chosen === null} onChange=${() => onChange(chosen === null ? [] : null)} /><span>${all}</span></label>
    ${chosen !== null && names.map((name) => html`<label class="check" key=${name}><input type="checkbox" checked=${chosen.includes(name)} onChange=${() => change(name)} /><span>${name}</span></label>`)}</fieldset>`;
}
