// The viewer's keys. They can be switched off (WCAG 2.1.4): speech input and screen readers use single letters too.

const STORED = "log-keys";

export class Keys {
  #actions;
  #button;

  constructor(actions, button) {
    [this.#actions, this.#button] = [actions, button];
    button.addEventListener("click", () => this.#set(!this.#on));
    this.#set(localStorage.getItem(STORED) !== "off");
    document.addEventListener("keydown", (event) => this.#press(event));
  }

  get #on() {
    return this.#button.getAttribute("aria-pressed") === "true";
  }

  #set(on) {
    this.#button.setAttribute("aria-pressed", String(on));
    localStorage.setItem(STORED, on ? "on" : "off");
  }

  #press(event) {
    const act = this.#actions[event.key];
    const writes = event.target.closest("input, textarea, select, [contenteditable]");
    if (!act || !this.#on || writes || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    act();
  }
}
