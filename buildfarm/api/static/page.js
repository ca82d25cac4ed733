// What the page does beside htmx: times that tick, a theme, copying, and a build's log as it grows.
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

function tick() {
  const now = Date.now() / 1000;
  for (const time of document.querySelectorAll("[data-since]")) {
    const text = ago(now - Number(time.dataset.since)) + (time.dataset.after || "");
    if (time.textContent !== text) time.textContent = text;
  }
}

function kind(text) {
  if (/^(-+>|=+>)/.test(text)) return "step";
  if (/^\s*!|\b(error|fatal|failed|traceback)\b/i.test(text)) return "error";
  if (/\bwarn(ing)?\b/i.test(text)) return "warning";
  return "";
}

class LiveLog {
  constructor(box) {
    this.box = box;
    this.status = document.getElementById("log-status");
    this.waiting = [];
    this.attempt = 0;
    this.lines = 0;
    this.following = true;
    box.addEventListener("scroll", () => {
      this.following = box.scrollHeight - box.scrollTop - box.clientHeight < 40;
    });
    this.source = new EventSource(box.dataset.live);
    this.source.addEventListener("line", (event) => this.take(JSON.parse(event.data)));
    this.source.addEventListener("now", (event) => this.show(JSON.parse(event.data).text));
    this.source.addEventListener("build", () => htmx.trigger("#build", "refresh"));
    this.source.addEventListener("end", () => {
      this.source.close();
      this.show("");
      this.say("complete");
      htmx.trigger("#build", "refresh");
    });
    this.source.addEventListener("open", () => {
      this.show(""); // after a lost connection, it may have ended meanwhile
      this.say("live");
    });
    this.source.addEventListener("error", () => this.say("connecting again"));
  }

  say(word) {
    this.status.textContent = `${word}, ${this.lines} lines`;
    this.word = word;
  }

  take(line) {
    this.waiting.push(line);
    if (this.waiting.length === 1) requestAnimationFrame(() => this.draw());
  }

  // The line that is being written, a progress bar say: below all others until it has ended.
  show(text) {
    if (!this.now) this.now = this.row("", "now");
    this.now.textContent = text; // never as markup
    if (text) this.box.append(this.now);
    else this.now.remove();
    if (this.following) this.box.scrollTop = this.box.scrollHeight;
  }

  draw() {
    const part = document.createDocumentFragment();
    for (const line of this.waiting) {
      if (line.attempt !== this.attempt && this.attempt) part.append(this.row(`attempt ${line.attempt}`, "again"));
      this.attempt = line.attempt;
      part.append(this.row(line.text || " ", `${line.phase} ${kind(line.text)}`));
    }
    this.lines += this.waiting.length;
    this.waiting = [];
    this.box.append(part);
    if (this.now && this.now.textContent) this.box.append(this.now);
    while (this.box.childElementCount > 20000) this.box.firstElementChild.remove();
    if (this.following) this.box.scrollTop = this.box.scrollHeight;
    this.say(this.word || "live");
  }

  row(text, classes) {
    const row = document.createElement("div");
    row.className = classes.trim();
    row.textContent = text; // never as markup: strangers wrote it
    return row;
  }
}

document.addEventListener("DOMContentLoaded", () => {
  tick();
  setInterval(tick, 1000);
  document.body.addEventListener("htmx:afterSwap", tick);
  const box = document.querySelector("[data-live]");
  if (box) new LiveLog(box);
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
