import type { TestAPI } from "vitest";

import type { Client } from "./index.js";

/** `test` of vitest with the fixture `annals`: a store of the test's own, which is empty. */
export const test: TestAPI<{ annals: Client }>;
export const it: typeof test;
