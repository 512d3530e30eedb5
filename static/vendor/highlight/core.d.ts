// What the app uses of this library, for the type check.
declare const hljs: {
  getLanguage(name: string): object | undefined;
  registerLanguage(name: string, grammar: unknown): void;
  highlight(code: string, options: { language: string, ignoreIllegals?: boolean }): { value: string };
};
export default hljs;
