// Search in a log: the next match at once, and how many there are in slices, so that the tab stays responsive. No DOM.

const SLICE_LINES = 20_000;

// Upper-case letters in the query make it sensitive to case.
export function patternOf(query) {
  if (!query) return null;
  return new RegExp(query.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"), /\p{Lu}/u.test(query) ? "" : "i");
}

// The nearest line from an index on, in this direction and around the end, for which the test passes; -1: none.
export function nearest(texts, test, from, step) {
  const count = texts.length;
  for (let tried = 0, index = from; tried < count; tried += 1, index += step) {
    index = (index + count) % count;
    if (test(texts[index])) return index;
  }
  return -1;
}

export class Matches {
  found = []; // indexes of lines
  #texts;
  #pattern = null;
  #seen = 0;
  #told;
  #timer = 0;

  constructor(texts, told) {
    this.#texts = texts;
    this.#told = told;
  }

  get complete() {
    return this.#seen >= this.#texts.length;
  }

  look(pattern) {
    this.#pattern = pattern;
    this.found = [];
    this.#seen = 0;
    this.more();
  }

  // To be called when lines were added.
  more() {
    if (this.#pattern && !this.#timer) this.#timer = setTimeout(() => this.#slice());
  }

  // Which match a line is, from 1 on.
  placeOf(line) {
    let low = 0;
    for (let high = this.found.length; low < high; ) {
      const middle = (low + high) >> 1;
      if (this.found[middle] < line) low = middle + 1;
      else high = middle;
    }
    return low + 1;
  }

  #slice() {
    this.#timer = 0;
    if (!this.#pattern) return;
    const end = Math.min(this.#seen + SLICE_LINES, this.#texts.length);
    for (; this.#seen < end; this.#seen += 1) {
      if (this.#pattern.test(this.#texts[this.#seen])) this.found.push(this.#seen);
    }
    if (!this.complete) this.more();
    this.#told();
  }
}
