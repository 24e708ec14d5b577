"use strict";

const { Client, Conflict, Problem, Unreachable } = require("./client.js");
const { Server, ServerError, sharedServer, stopSharedServer, withStore } = require("./server.js");

module.exports = { Client, Conflict, Problem, Server, ServerError, Unreachable, sharedServer, stopSharedServer, withStore };
