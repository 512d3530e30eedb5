// What the app uses of this library, for the type check; the library's own types need TypeScript sources.
export type VNode = { type: unknown, props: unknown };
export function h(type: unknown, props: unknown, ...children: unknown[]): VNode;
export function render(node: unknown, parent: Element): void;
export const Fragment: (props: { children?: unknown }) => unknown;
