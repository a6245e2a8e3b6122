// Runs before the page is painted, so that a remembered theme does not flash in the other colours.
try {
  const theme = localStorage.getItem("janusflow.theme");
  if (theme) document.documentElement.dataset.theme = theme;
} catch {
  // Without storage the page follows the system's theme.
}
