// Shapes (JSON Schema) in TypeScript's notation, with links from one to the other.
import { html } from "../lib.js";

/** @typedef {Record<string, any>} Schema */

const PREFIX = "#/components/schemas/";

/** @param {string} reference @returns {string} the name of the shape */
const named = (reference) => reference.slice(PREFIX.length);

/** @param {string} reference */
function Link(reference) {
  const name = named(reference);
  return html`<a href=${`#shape-${name}`}>${name}</a>`;
}

/**
 * @param {any[]} parts
 * @param {string} between
 * @returns {any[]}
 */
const joined = (parts, between) => parts.flatMap((part, at) => (at === 0 ? [part] : [between, part]));

/** @param {Schema} schema @param {string} kind @returns {string} the bounds of a number or a text */
function bounds(schema, kind) {
  const least = schema.minimum ?? schema.exclusiveMinimum ?? (kind === "string" ? schema.minLength : undefined);
  const most = schema.maximum ?? (kind === "string" ? schema.maxLength : undefined);
  const unit = kind === "string" ? " characters" : "";
  if (least === undefined && most === undefined) return "";
  if (most === undefined) return ` (from ${least}${unit})`;
  return least === undefined ? ` (to ${most}${unit})` : ` (${least} to ${most}${unit})`;
}

/**
 * @param {Schema | boolean} schema
 * @param {number} depth how far it stands inside of another one
 * @returns {any} what is shown of it
 */
export function form(schema, depth = 0) {
  if (typeof schema === "boolean" || !schema) return "any";
  if (schema.$ref) return Link(schema.$ref);
  const all = schema.anyOf ?? schema.oneOf;
  if (all) return joined(all.map((/** @type {Schema} */ one) => form(one, depth)), " | ");
  if (schema.allOf) return joined(schema.allOf.map((/** @type {Schema} */ one) => form(one, depth)), " & ");
  if (schema.enum) return schema.enum.map((/** @type {unknown} */ one) => JSON.stringify(one)).join(" | ");
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  const kinds = Array.isArray(schema.type) ? schema.type : schema.type ? [schema.type] : [];
  if (kinds.length === 0) return schema.properties ? fields(schema, depth) : "any";
  return joined(kinds.map((/** @type {string} */ kind) => one(schema, kind, depth)), " | ");
}

/**
 * @param {Schema} schema
 * @param {string} kind
 * @param {number} depth
 */
function one(schema, kind, depth) {
  if (kind === "array") {
    const { items = true } = schema;
    const isAlone = items === true || items.$ref || typeof items.type === "string";
    return isAlone ? [form(items, depth), "[]"] : ["(", form(items, depth), ")[]"];
  }
  if (kind === "object") return schema.properties ? fields(schema, depth) : entries(schema, depth);
  return kind === "null" ? kind : `${kind}${bounds(schema, kind)}`;
}

/** @param {Schema} schema @param {number} depth */
function entries(schema, depth) {
  const of = schema.additionalProperties;
  return of && of !== true ? ["{ [name]: ", form(of, depth), " }"] : "object";
}

/** @param {Schema} schema @param {number} depth @returns {any} */
function fields(schema, depth) {
  const space = "  ".repeat(depth + 1);
  const required = new Set(schema.required ?? []);
  const rows = Object.entries(schema.properties).map(([name, field]) =>
    [space, name, required.has(name) ? ": " : "?: ", form(/** @type {Schema} */ (field), depth + 1), "\n"]);
  return rows.length === 0 ? "{}" : ["{\n", ...rows, "  ".repeat(depth), "}"];
}

/** @param {{ name: string, schema: Schema }} props */
export function Shape({ name, schema }) {
  return html`<h3 class="shape-name" id=${`shape-${name}`}>${name}</h3>
    ${schema.description && html`<p>${schema.description}</p>`}
    <pre class="shape" tabindex="0" role="group" aria-label=${name}>${form(schema)}</pre>`;
}
