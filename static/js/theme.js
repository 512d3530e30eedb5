// Runs before the first paint, so that a chosen theme does not flash. Not a module: it must not wait.
try {
  const theme = localStorage.getItem("strongroom.theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // Storage can be switched off; the system's theme is used then.
}
