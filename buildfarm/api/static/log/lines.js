// What a log consists of: lines with their numbers, in sections by attempt, phase and buildpack. No DOM.

const MISSING = /^\[(\d[\d,]{0,12}) lines are missing here: /;
const BUILDPACK = /^-----> (?:(.+) app|([\w.-]+\/[\w./-]+ v?\d[\w.+-]*))$/;
const SURE =
  /^\s*(?:npm ERR!|npm error|yarn error|error(?:\[\w+\])?:|fatal:|panic:|Traceback \(most recent|make(?:\[\d+\])?: \*\*\*)|\b\w*(?:Error|Exception): |: (?:fatal )?error(?: [A-Z]+\d+)?: |\b(?:ERROR|FAILED|FATAL)\b/;
const LIKELY = /^\s*!|\b(?:error|failed|fatal|traceback)\b/i;
const HARMLESS = /\b(?:0|no) (?:errors?|failed)\b|\b(?:errors?|failed):? 0\b/i;

export function kindOf(text) {
  if (/^(?:-+>|=+>)/.test(text)) return "step";
  if (isError(text)) return "error";
  return /\bwarn(?:ing)?\b/i.test(text) ? "warning" : "";
}

export function isError(text) {
  return (SURE.test(text) || LIKELY.test(text)) && !HARMLESS.test(text);
}

export class Lines {
  texts = [];
  sections = []; // {attempt, phase, title, first, count, open}, in the order of their lines
  #gaps = []; // where lines are missing: {index of the line that says so, numbers that it skips, and all up to it}

  get count() {
    return this.texts.length;
  }

  add(attempt, phase, texts) {
    for (const text of texts) {
      const buildpack = phase === "compile" && text.startsWith("-----> ") ? BUILDPACK.exec(text) : null;
      let section = this.sections[this.sections.length - 1];
      if (!section || section.attempt !== attempt || section.phase !== phase || buildpack) {
        section = { attempt, phase, title: buildpack?.[1] ?? buildpack?.[2] ?? "", first: this.count, count: 0, open: true };
        this.sections.push(section);
      }
      if (text[0] === "[") this.#skip(text);
      section.count += 1;
      this.texts.push(text);
    }
  }

  // Lines that Redis no longer had keep their numbers, so that a link means the same line in the archive.
  #skip(text) {
    const missing = MISSING.exec(text);
    if (!missing) return;
    const by = Number(missing[1].replaceAll(",", "")) - 1;
    this.#gaps.push({ index: this.count, by, skipped: by + (this.#gaps.at(-1)?.skipped ?? 0) });
  }

  numberOf(index) {
    return index + 1 + (this.#lastGap((gap) => gap.index < index)?.skipped ?? 0);
  }

  // The line with this number; of a missing one, the line that says so; of one beyond the end, the last.
  indexOf(number) {
    const gap = this.#lastGap(({ index, by, skipped }) => index + 1 + skipped - by < number);
    const index = gap ? Math.max(gap.index, number - 1 - gap.skipped) : number - 1;
    return Math.max(0, Math.min(index, this.count - 1));
  }

  // The last gap for which this holds: it holds for all before it.
  #lastGap(holds) {
    let low = 0;
    for (let high = this.#gaps.length; low < high; ) {
      const middle = (low + high) >> 1;
      if (holds(this.#gaps[middle])) low = middle + 1;
      else high = middle;
    }
    return this.#gaps[low - 1];
  }

  sectionOf(index) {
    let low = 0;
    for (let high = this.sections.length - 1; low < high; ) {
      const middle = (low + high + 1) >> 1;
      if (this.sections[middle].first <= index) low = middle;
      else high = middle - 1;
    }
    return this.sections[low];
  }

  // The line that explains best why the build failed in this phase; -1 as long as it has none.
  failing(phase) {
    const section = this.sections.findLast((one) => one.phase === phase) ?? this.sections[this.sections.length - 1];
    if (!section) return -1;
    const [first, end] = [section.first, section.first + section.count];
    for (const pattern of [SURE, LIKELY]) {
      for (let index = first; index < end; index += 1) {
        const text = this.texts[index];
        if (pattern.test(text) && !HARMLESS.test(text)) return index;
      }
    }
    return end - 1;
  }
}
