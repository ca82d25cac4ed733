// How the lines come: those so far in one answer, and the following ones as server-sent events.

const BUSY_MILLISECONDS = 12;

// Calls take(position, attempt, phase, texts) for each group of lines. Throws if the answer fails or breaks off.
export async function loadLines(url, take) {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`the log was answered with ${answer.status}`);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (let since = performance.now(); ; ) {
    const { done, value } = await reader.read();
    if (done) break;
    const groups = (rest + value).split("\n");
    rest = groups.pop();
    for (const group of groups) take(...JSON.parse(group));
    if (performance.now() - since > BUSY_MILLISECONDS) {
      await new Promise((resume) => setTimeout(resume)); // the browser draws and takes input
      since = performance.now();
    }
  }
  if (rest) throw new Error("the log ends in the middle of a line");
}

// The position of the last of so many lines that follow one another.
export function lastOf(position, count) {
  const [milliseconds, number = "0"] = position.split("-");
  return `${milliseconds}-${Number(number) + count - 1}`;
}

export function followLines(url, after, { line, now, build, end, say }) {
  const source = new EventSource(`${url}?after=${after}`);
  const on = (name, act) => source.addEventListener(name, (event) => act(event.data && JSON.parse(event.data)));
  on("line", line);
  on("now", ({ text }) => now(text));
  on("build", build);
  on("end", () => {
    source.close();
    end();
  });
  source.addEventListener("open", () => {
    now(""); // after a lost connection, it may have ended meanwhile
    say("live");
  });
  source.addEventListener("error", () => {
    const gone = source.readyState === EventSource.CLOSED; // the browser does not try again after an answer such as 503
    say(gone ? "not connected (load the page again)" : "connecting again");
  });
}
