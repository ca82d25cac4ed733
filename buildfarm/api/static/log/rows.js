// Which rows a log has on the screen and where: a head for each section, and its lines unless it is folded. No DOM.
// Heights are counted in rows of text: a wrapped line has several.

const HEAD = 1.2; // a button's target has at least 24 pixels (WCAG 2.5.8)

export class Rows {
  height = 0;
  #lines;
  #columns = 0; // 0: lines are not wrapped
  #before = new Int32Array(1024); // of each line: the rows of all lines before it, if they are wrapped
  #known = 0;

  constructor(lines) {
    this.#lines = lines;
  }

  get columns() {
    return this.#columns;
  }

  wrap(columns) {
    if (columns !== this.#columns) this.#known = 0;
    this.#columns = columns;
    this.refresh();
  }

  // To be called when lines were added, and when a section was folded or unfolded.
  refresh() {
    if (this.#columns) this.#count();
    let top = 0;
    for (const section of this.#lines.sections) {
      section.top = top;
      top += HEAD + (section.open ? this.#offset(section.first + section.count) - this.#offset(section.first) : 0);
    }
    this.height = top;
  }

  // What is drawn at this height: a section, and the index of a line, or -1 for the section's head.
  at(height) {
    const { sections } = this.#lines;
    let low = 0;
    for (let high = sections.length - 1; low < high; ) {
      const middle = (low + high + 1) >> 1;
      if (sections[middle].top <= height) low = middle;
      else high = middle - 1;
    }
    const section = sections[low];
    const inside = Math.floor(height - section.top - HEAD);
    if (inside < 0 || !section.open) return { number: low, section, line: -1 };
    const line = this.#columns ? this.#search(section, this.#before[section.first] + inside) : section.first + inside;
    return { number: low, section, line: Math.min(line, section.first + section.count - 1) };
  }

  after({ number, section, line }) {
    const next = line < 0 ? section.first : line + 1;
    if (section.open && next < section.first + section.count) return { number, section, line: next };
    const following = this.#lines.sections[number + 1];
    return following ? { number: number + 1, section: following, line: -1 } : null;
  }

  topOf({ section, line }) {
    return line < 0 ? section.top : section.top + HEAD + this.#offset(line) - this.#offset(section.first);
  }

  // The browser needed another number of rows for a line, because of wide letters or tabs. Returns whether that is new.
  correct(line, rows) {
    if (!this.#columns || line + 1 >= this.#known) return false;
    const by = rows - (this.#before[line + 1] - this.#before[line]);
    if (by === 0) return false;
    for (let index = line + 1; index < this.#known; index += 1) this.#before[index] += by;
    return true;
  }

  #offset(line) {
    return this.#columns ? this.#before[line] : line;
  }

  #count() {
    const { texts } = this.#lines;
    if (texts.length + 1 > this.#before.length) {
      const grown = new Int32Array(2 * texts.length + 1);
      grown.set(this.#before.subarray(0, this.#known));
      this.#before = grown;
    }
    if (!this.#known) this.#known = 1; // nothing is before the first line
    for (; this.#known <= texts.length; this.#known += 1) {
      const rows = Math.max(1, Math.ceil(texts[this.#known - 1].length / this.#columns));
      this.#before[this.#known] = this.#before[this.#known - 1] + rows;
    }
  }

  #search(section, offset) {
    let [low, high] = [section.first, section.first + section.count - 1];
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.#before[middle] <= offset) low = middle;
      else high = middle - 1;
    }
    return low;
  }
}
