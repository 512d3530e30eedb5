export function trouble() {}
