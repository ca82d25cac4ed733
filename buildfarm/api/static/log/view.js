// Draws the rows of a log that are in sight, and a few around them, however many there are.

import { kindOf } from "./lines.js";

const AROUND = 12; // rows
const HEIGHT_MAX = 12_000_000; // pixels; browsers cannot make an element much higher
const NEAR_END = 40; // pixels

export class View {
  following = true;
  here = { first: -1, last: -1 }; // lines that a link names, or that were jumped to
  pattern = null;
  onFold = () => {};
  #box;
  #lines;
  #rows;
  #space = element("div", "space");
  #window = element("div", "rows");
  #now = element("div", "row now");
  #drawn = new Map();
  #version = 0;
  #drawnVersion = 0;
  #asked = false;
  #rowHeight = 20;
  #scrolledTo = 0;

  constructor(box, lines, rows) {
    [this.#box, this.#lines, this.#rows] = [box, lines, rows];
    this.#now.hidden = true;
    this.#space.append(this.#window);
    box.replaceChildren(this.#space, this.#now);
    box.addEventListener("scroll", () => this.#scrolled());
    new ResizeObserver(() => this.#resized()).observe(box);
    this.#measure();
  }

  // Draws with the next frame; `anew` if rows that are drawn have changed.
  draw({ anew = false } = {}) {
    if (anew) this.#version += 1;
    if (this.#asked) return;
    this.#asked = true;
    requestAnimationFrame(() => this.#draw());
  }

  // The line that is being written, a progress bar say: below all others until it has ended.
  showNow(text) {
    this.#now.textContent = text; // never as markup
    this.#now.hidden = !text;
    this.draw();
  }

  get wrapped() {
    return this.#rows.columns > 0;
  }

  setWrap(on) {
    const top = this.first();
    this.#box.classList.toggle("wrapped", on);
    this.#rows.wrap(on ? this.#columns() : 0);
    this.draw({ anew: true });
    if (!this.following && top) this.#scrollTo(this.#rows.topOf(top));
  }

  // The first row in sight.
  first() {
    return this.#rows.height ? this.#rows.at(Math.min(Math.ceil(this.#top() / this.#rowHeight), this.#rows.height - 1)) : null;
  }

  sees(line) {
    const row = line >= 0 && line < this.#lines.count ? { section: this.#lines.sectionOf(line), line } : null;
    if (!row?.section.open) return false;
    const [height, top] = [this.#rows.topOf(row) * this.#rowHeight, this.#top()];
    return height > top - this.#rowHeight && height < top + this.#box.clientHeight;
  }

  // Shows these lines in the upper third, and marks them.
  show(first, last = first) {
    const section = this.#lines.sectionOf(first);
    const unfolds = !section.open;
    section.open = true;
    this.#rows.refresh(); // lines that came since the last frame have no place yet
    if (unfolds) this.onFold();
    this.here = { first, last };
    this.following = false;
    this.draw({ anew: true });
    this.#scrollTo(this.#rows.topOf({ section, line: first }) - Math.floor(this.#box.clientHeight / this.#rowHeight / 3));
  }

  // Marks lines where they are.
  mark(first, last) {
    this.here = { first, last };
    this.following = false;
    this.draw({ anew: true });
  }

  toStart() {
    this.following = false;
    this.#scrollTo(0);
  }

  toEnd() {
    this.following = true;
    this.draw();
  }

  fold(section, open) {
    section.open = open;
    this.#rows.refresh();
    this.following = false;
    this.onFold();
    this.draw({ anew: true });
  }

  // Moves the head of a section to the top, if it is above: folding is done from inside of a section too.
  toHead(section) {
    if (this.#top() > section.top * this.#rowHeight) this.#scrollTo(section.top);
  }

  // The reader's own scrolling alone decides whether the end is followed: the log grows meanwhile.
  #scrolled() {
    const [box, before] = [this.#box, this.#scrolledTo];
    this.#scrolledTo = box.scrollTop;
    if (box.scrollTop < before - 1) this.following = false;
    else if (box.scrollTop > before + 1) this.following ||= box.scrollHeight - box.scrollTop - box.clientHeight < NEAR_END;
    this.draw();
  }

  #setScroll(top) {
    this.#box.scrollTop = top;
    this.#scrolledTo = this.#box.scrollTop;
  }

  #draw() {
    this.#asked = false;
    const height = Math.min(this.#rows.height * this.#rowHeight, HEIGHT_MAX);
    this.#space.style.height = `${height}px`;
    if (this.following) this.#setScroll(this.#box.scrollHeight);
    if (!this.#rows.height) return;
    const top = this.#top();
    const begin = Math.max(0, Math.floor(top / this.#rowHeight) - AROUND);
    const end = (top + this.#box.clientHeight) / this.#rowHeight + AROUND;
    const first = this.#rows.at(Math.min(begin, this.#rows.height - 1));
    this.#fill(first, end);
    this.#window.style.transform = `translateY(${this.#rows.topOf(first) * this.#rowHeight - top + this.#box.scrollTop}px)`;
    if (this.wrapped && this.#correct()) this.draw();
  }

  // Rows that stay in sight keep their elements, and so what is selected in them.
  #fill(first, end) {
    const kept = this.#version === this.#drawnVersion ? this.#drawn : new Map();
    const drawn = new Map();
    for (let row = first; row && this.#rows.topOf(row) < end; row = this.#rows.after(row)) {
      const key = row.line < 0 ? `head ${row.number} ${row.section.count}` : row.line;
      drawn.set(key, kept.get(key) ?? (row.line < 0 ? this.#head(row) : this.#line(row)));
    }
    const folded = document.activeElement?.dataset.section;
    const rows = new Set(drawn.values());
    for (const row of [...this.#window.children]) if (!rows.has(row)) row.remove();
    let at = this.#window.firstChild;
    for (const row of rows) {
      if (row === at) at = at.nextSibling;
      else this.#window.insertBefore(row, at);
    }
    [this.#drawn, this.#drawnVersion] = [drawn, this.#version];
    if (folded) this.#window.querySelector(`[data-section="${folded}"]`)?.focus({ preventScroll: true });
  }

  #head({ number, section }) {
    const row = element("div", `row part ${section.phase}`);
    const button = element("button", "quiet");
    button.type = "button";
    button.dataset.section = number;
    button.setAttribute("aria-expanded", String(section.open));
    const again = section.attempt > 1 ? `attempt ${section.attempt} · ` : "";
    const lines = `${section.count.toLocaleString("en")} line${section.count === 1 ? "" : "s"}`;
    button.append(`${again}${section.phase}${section.title ? ` · ${section.title}` : ""}`, element("small", "", lines));
    row.append(button);
    return row;
  }

  #line({ section, line }) {
    const text = this.#lines.texts[line];
    const marked = line >= this.here.first && line <= this.here.last ? " here" : "";
    const row = element("div", `row ${section.phase} ${kindOf(text)}${marked}`);
    const number = this.#lines.numberOf(line);
    const link = element("a", "n", String(number));
    link.href = `#L${number}`;
    link.tabIndex = -1; // `:` and a number does the same on the keyboard
    link.setAttribute("aria-label", `Line ${number}`);
    const shown = element("span", "t");
    this.#write(shown, text);
    row.dataset.line = line;
    row.append(link, shown);
    return row;
  }

  // As text and never as markup: untrusted code wrote it.
  #write(target, text) {
    let from = 0;
    const every = this.pattern && new RegExp(this.pattern.source, `${this.pattern.flags}g`);
    for (const match of every ? text.matchAll(every) : []) {
      target.append(text.slice(from, match.index), element("mark", "", match[0]));
      from = match.index + match[0].length;
    }
    target.append(text.slice(from) || (from ? "" : " "));
  }

  #correct() {
    let changed = false;
    for (const [key, row] of this.#drawn) {
      if (typeof key !== "number") continue;
      const rows = Math.max(1, Math.round(row.getBoundingClientRect().height / this.#rowHeight));
      changed = this.#rows.correct(key, rows) || changed;
    }
    if (changed) this.#rows.refresh();
    return changed;
  }

  #resized() {
    this.#measure();
    if (this.wrapped) this.#rows.wrap(this.#columns());
    this.draw();
  }

  #measure() {
    const probe = element("div", "row");
    probe.append(element("a", "n", "1"), element("span", "t", "1"));
    this.#window.append(probe);
    this.#rowHeight = probe.getBoundingClientRect().height || this.#rowHeight;
    probe.remove();
  }

  // How many letters a wrapped line has in one row.
  #columns() {
    const [probe, text, letters] = [element("div", "row"), element("span", "t"), element("span", "", "m".repeat(10))];
    text.append(letters);
    probe.append(element("a", "n", "1"), text);
    this.#window.append(probe);
    const columns = text.getBoundingClientRect().width / (letters.getBoundingClientRect().width / 10);
    probe.remove();
    return Math.max(10, Math.floor(columns + 0.01));
  }

  // Pixels above what is in sight. Of a log that is too high for a browser, the scroll bar moves by more than that.
  #top() {
    const [total, shown, view] = [this.#rows.height * this.#rowHeight, this.#space.offsetHeight, this.#box.clientHeight];
    return shown < total && shown > view ? (this.#box.scrollTop * (total - view)) / (shown - view) : this.#box.scrollTop;
  }

  #scrollTo(row) {
    const [total, view] = [this.#rows.height * this.#rowHeight, this.#box.clientHeight];
    const shown = Math.min(total, HEIGHT_MAX);
    this.#space.style.height = `${shown}px`;
    const scale = shown < total ? (shown - view) / (total - view) : 1;
    this.#setScroll(Math.max(0, row) * this.#rowHeight * scale);
    this.draw();
  }
}

export function element(name, classes, text = "") {
  const made = document.createElement(name);
  if (classes) made.className = classes.trim();
  if (text) made.textContent = text;
  return made;
}
