// What the app uses of this library, for the type check.
declare const DOMPurify: {
  sanitize(html: string, config: Record<string, unknown>): any;
  addHook(name: string, hook: (node: Element) => void): void;
};
export default DOMPurify;
