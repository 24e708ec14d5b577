"use strict";

const { newStore } = require("./server.js");

/** A store of the test's own, which is empty, and is removed behind the test. `t` is the context of `node:test`. */
async function annals(t) {
  const store = await newStore();
  t.after(() => store.drop());
  return store;
}

module.exports = { annals };
