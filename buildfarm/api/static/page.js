// What the page does beside htmx: times that tick, a theme, and copying. The log of a build is in log/.
"use strict";

const root = document.documentElement;
const chosen = localStorage.getItem("theme");
if (chosen) root.dataset.theme = chosen;

function ago(seconds) {
  if (seconds < 60) return `${Math.max(0, Math.floor(seconds))} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
  return `${Math.floor(seconds / 86400)} d`;
}

// A module that did not load, because the network changed or the API started anew: the page is loaded once more.
addEventListener("error", ({ target }) => {
  if (target.type !== "module" || Date.now() - Number(sessionStorage.getItem("reloaded")) < 10_000) return;
  sessionStorage.setItem("reloaded", Date.now());
  location.reload();
}, true);

function tick() {
  const now = Date.now() / 1000;
  for (const time of document.querySelectorAll("[data-since]")) {
    const text = ago(now - Number(time.dataset.since)) + (time.dataset.after || "");
    if (time.textContent !== text) time.textContent = text;
  }
}

document.addEventListener("DOMContentLoaded", () => {
  tick();
  setInterval(tick, 1000);
  document.body.addEventListener("htmx:afterSwap", tick);
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if (button.id === "theme") {
      const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
      root.dataset.theme = dark ? "light" : "dark";
      localStorage.setItem("theme", root.dataset.theme);
    } else if (button.dataset.copy) {
      await navigator.clipboard.writeText(button.dataset.copy);
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    }
  });
});
