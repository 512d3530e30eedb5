// What the app uses of this library, for the type check.
import type { VNode } from "./preact.js";
declare const htm: { bind(h: unknown): (strings: TemplateStringsArray, ...values: any[]) => VNode };
export default htm;
