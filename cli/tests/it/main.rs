//! The program as a whole: what it answers, what it says, and what it ends with.

mod bad_input;
mod commands;
mod pipes;
mod real_data;
mod support;
