import type { Client } from "./index.js";

/** A store of the test's own, which is empty, and is removed behind the test. `t` is the context of `node:test`. */
export function annals(t: { after(hook: () => Promise<void>): void }): Promise<Client>;
