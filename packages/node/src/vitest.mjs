import { afterAll, test as base } from "vitest";

import server from "./server.js";

// A worker of vitest may be killed, and then does not hear of the end of its process.
afterAll(server.stopSharedServer);

/** `test` of vitest with the fixture `annals`: a store of the test's own, which is empty. */
export const test = base.extend({
  // The empty pattern tells vitest that this fixture needs no other.
  annals: async ({}, use) => {
    await server.withStore(use);
  },
});

export const it = test;
