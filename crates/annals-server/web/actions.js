// Buttons and forms that change something: what is refused is told beside them.

import { make } from "./dom.js";

/** How long a button asks before it acts, in milliseconds. */
const ASKS_FOR = 5_000;

/**
 * A button that runs `act`, and then `done`. If `act` returns a text, that is told instead. With `sure`, the first click shows this text, and the second one acts.
 */
export function button(text, act, done, { sure } = {}) {
  const told = make("span", { class: "dim", role: "status" });
  const made = make("button", { type: "button", on: { click } }, text);
  let isSure = sure === undefined;
  async function click() {
    if (!isSure) return ask();
    made.disabled = true;
    told.textContent = "";
    await run(told, act, done);
    made.disabled = false;
  }
  function ask() {
    isSure = true;
    made.textContent = sure;
    setTimeout(() => { isSure = false; made.textContent = text; }, ASKS_FOR);
  }
  return make("span", { class: "action" }, made, told);
}

/** A form whose fields are `parts`: `act` gets their values by name. */
export function form(parts, text, act, done) {
  const told = make("span", { class: "dim", role: "status" });
  const submit = (submitted) => {
    submitted.preventDefault();
    told.textContent = "";
    const values = Object.fromEntries([...new FormData(submitted.target)].filter(([, value]) => value !== ""));
    run(told, () => act(values), done);
  };
  return make("form", { class: "tools", on: { submit } }, parts, make("button", {}, text), told);
}

async function run(told, act, done) {
  try {
    const said = await act();
    if (typeof said === "string") told.textContent = said;
    else done();
  } catch (error) {
    told.textContent = error.message;
  }
}

/** A field of a form. */
export const field = (name, label, attributes = {}) => make("label", {}, label, " ", make("input", { name, autocomplete: "off", ...attributes }));

export function choice(name, label, values) {
  return make("label", {}, label, " ", make("select", { name }, values.map((value) => make("option", { value }, value))));
}
