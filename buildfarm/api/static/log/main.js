// The log of a build's page: puts lines, rows, search, keys and the view together.

import { Keys } from "./keys.js";
import { Lines, isError } from "./lines.js";
import { followLines, lastOf, loadLines } from "./load.js";
import { Rows } from "./rows.js";
import { Matches, nearest, patternOf } from "./search.js";
import { View } from "./view.js";

const box = document.querySelector("[data-lines]");
const byId = (id) => document.getElementById(id);
const [status, told, field] = [byId("log-status"), byId("log-told"), byId("log-search")];
const lines = new Lines();
const rows = new Rows(lines);
const view = new View(box, lines, rows);
const matches = new Matches(lines.texts, tellMatches);
let word = "loading";
let position = "0";
let wanted = /^#L\d/.test(location.hash) ? location.hash : ""; // a link's lines, as long as they have not come

function say(next) {
  word = next;
  status.textContent = `${word}, ${lines.count.toLocaleString("en")} lines`;
}

function take(at, attempt, phase, texts) {
  position = lastOf(at, texts.length);
  lines.add(attempt, phase, texts);
  if (changed.asked) return;
  changed.asked = true;
  requestAnimationFrame(changed);
}

function changed() {
  changed.asked = false;
  rows.refresh();
  view.draw();
  matches.more();
  byId("log-fold").hidden = lines.sections.length === 0;
  if (wanted) showLink();
  say(word);
}

// #L12 or #L12-L15; with `last` no more lines come.
function showLink({ last = false } = {}) {
  const found = /^#L(\d+)(?:-L?(\d+))?$/.exec(wanted);
  if (!found) {
    wanted = "";
    return;
  }
  const [from, to] = [Number(found[1]), Number(found[2] ?? found[1])];
  if (!lines.count || (!last && lines.numberOf(lines.count - 1) < to)) return;
  wanted = "";
  view.show(lines.indexOf(from), lines.indexOf(Math.max(from, to)));
  box.scrollIntoView({ block: "nearest" });
}

// Goes to a line, and makes the page's address a link to it.
function goTo(line, sentence = "") {
  view.show(line);
  link(line);
  tell(`${sentence}line ${lines.numberOf(line).toLocaleString("en")}`, lines.texts[line]);
}

function link(first, last = first) {
  history.replaceState(null, "", `#L${lines.numberOf(first)}${last > first ? `-L${lines.numberOf(last)}` : ""}`);
}

function tell(sentence, text = "") {
  told.textContent = sentence;
  if (!text) return;
  const spoken = document.createElement("span");
  spoken.className = "unseen"; // a screen reader says the line; it is to be seen in the log
  spoken.textContent = `: ${text.slice(0, 200)}`;
  told.append(spoken);
}

// Where to look from: the marked line if it is in sight, else the first line that is.
function from(step) {
  const top = view.first();
  if (view.sees(view.here.first)) return view.here.first + step;
  return top ? Math.max(top.line, top.section.first) : 0;
}

function next(step) {
  if (!view.pattern) return field.focus();
  const line = nearest(lines.texts, (text) => view.pattern.test(text), from(step), step);
  if (line < 0) return tell("no match");
  goTo(line);
  tellMatches();
}

function tellMatches() {
  if (!view.pattern) return;
  const count = `${matches.found.length.toLocaleString("en")}${matches.complete ? "" : "+"}`;
  const here = view.here.first;
  if (matches.complete && !matches.found.length) return tell("no match");
  const isMatch = here >= 0 && view.pattern.test(lines.texts[here]);
  if (!isMatch) return tell(`${count} matching lines`);
  tell(`${matches.placeOf(here).toLocaleString("en")} of ${count}, line ${lines.numberOf(here).toLocaleString("en")}`, lines.texts[here]);
}

// What was found so far stays while the query grows: the first match is looked for from the line that is marked.
function search() {
  const number = /^:(\d+)$/.exec(field.value);
  view.pattern = field.value.startsWith(":") ? null : patternOf(field.value);
  matches.look(view.pattern);
  view.draw({ anew: true });
  if (number && lines.count) return goTo(lines.indexOf(Number(number[1])));
  if (!view.pattern) return tell("");
  const line = nearest(lines.texts, (text) => view.pattern.test(text), from(0), 1);
  if (line < 0) return tell("no match");
  goTo(line);
  tellMatches();
}

function error(step) {
  const line = nearest(lines.texts, isError, from(step), step);
  if (line < 0) tell("no error found");
  else goTo(line, "error, ");
}

function showFailing(phase) {
  const line = lines.failing(phase);
  if (line < 0) return; // it printed nothing
  view.show(line);
  tell(`failing line, line ${lines.numberOf(line).toLocaleString("en")}`, lines.texts[line]);
}

function wrap() {
  view.setWrap(!view.wrapped);
  byId("log-wrap").setAttribute("aria-pressed", String(view.wrapped));
}

function foldHere() {
  const top = view.first();
  if (!top) return;
  view.fold(top.section, !top.section.open);
  view.toHead(top.section);
}

function foldAll() {
  if (!lines.sections.length) return;
  const open = lines.sections.every((section) => !section.open);
  for (const section of lines.sections) section.open = open;
  view.fold(lines.sections[0], open);
  view.toStart();
}

const actions = {
  "/": () => { field.focus(); field.select(); },
  n: () => next(1), N: () => next(-1),
  e: () => error(1), E: () => error(-1),
  w: wrap, f: foldHere, F: foldAll,
  g: () => view.toStart(), G: () => view.toEnd(),
  ":": () => { field.value = ":"; field.focus(); },
};

view.following = !wanted;
byId("log-tools").hidden = false;
new Keys(actions, byId("log-keys"));
field.addEventListener("input", search);
field.addEventListener("keydown", (event) => {
  if (event.key === "Enter") next(event.shiftKey ? -1 : 1);
  else if (event.key === "Escape") { field.value = ""; search(); box.focus(); }
  else return;
  event.preventDefault();
});
for (const [id, act] of Object.entries({
  "log-next": () => next(1), "log-previous": () => next(-1), "log-error": () => error(1),
  "log-wrap": wrap, "log-fold": foldAll, "log-end": () => view.toEnd(),
})) byId(id).addEventListener("click", act);
view.onFold = () => {
  byId("log-fold").textContent = lines.sections.every((section) => !section.open) ? "Unfold all" : "Fold all";
};

box.addEventListener("click", (event) => {
  const head = event.target.closest("[data-section]");
  if (head) {
    const section = lines.sections[Number(head.dataset.section)];
    view.fold(section, !section.open);
  }
  const number = event.target.closest("a.n");
  if (!number) return;
  event.preventDefault();
  const line = Number(number.parentElement.dataset.line);
  const other = event.shiftKey && view.here.first >= 0 ? view.here.first : line;
  view.mark(Math.min(line, other), Math.max(line, other));
  link(view.here.first, view.here.last);
});
addEventListener("hashchange", () => {
  wanted = location.hash;
  showLink({ last: true });
});
document.addEventListener("click", (event) => {
  const wanted = event.target.closest("[data-failing]");
  if (wanted) showFailing(wanted.dataset.failing);
});

async function start() {
  try {
    await loadLines(box.dataset.lines, take);
  } catch (error) {
    console.info(`The rest comes line by line: ${error.message}`);
    box.dataset.final = "";
  }
  if (box.dataset.final) return ended();
  followLines(box.dataset.live, position, {
    line: ({ position: at, attempt, phase, text }) => take(at, attempt, phase, [text]),
    now: (text) => view.showNow(text),
    build: () => htmx.trigger("#build", "refresh"),
    end: () => {
      view.showNow("");
      htmx.trigger("#build", "refresh");
      ended();
    },
    say,
  });
}

function ended() {
  rows.refresh();
  if (wanted) showLink({ last: true });
  else if (box.dataset.failed && view.here.first < 0 && view.following) showFailing(box.dataset.failed);
  say("complete");
}

start();
