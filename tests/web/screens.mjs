export function screens() {}
