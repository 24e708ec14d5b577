"use strict";

// Jest itself has this module; nothing of this name needs to be installed.
const { afterAll } = require("@jest/globals");

const { stopSharedServer, withStore } = require("./server.js");

// Jest loads modules anew for each file of tests, and its workers do not hear of the end of their process.
afterAll(stopSharedServer);

/** The body of a test that gets a store of its own: `test("…", withAnnals(async (annals) => { … }))`. */
function withAnnals(body) {
  return () => withStore(body);
}

module.exports = { withAnnals };
