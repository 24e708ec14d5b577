import type { Client } from "./index.js";

/** The body of a test that gets a store of its own: `test("…", withAnnals(async (annals) => { … }))`. */
export function withAnnals(body: (annals: Client) => void | Promise<void>): () => Promise<void>;
