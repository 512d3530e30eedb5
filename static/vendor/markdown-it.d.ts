// What the app uses of this library, for the type check.
interface Token { nesting: number, content: string, info: string, attrGet(name: string): string | null }
type Rule = (tokens: Token[], index: number) => string;
export default class MarkdownIt {
  constructor(options: Record<string, unknown>);
  options: Record<string, unknown>;
  linkify: { set(options: Record<string, boolean>): void };
  utils: { escapeHtml(text: string): string };
  renderer: { rules: Record<string, Rule>, render(tokens: Token[], options: unknown, env: unknown): string };
  parse(source: string, env: unknown): Token[];
}
