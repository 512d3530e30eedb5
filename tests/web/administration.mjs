export function administration() {}
