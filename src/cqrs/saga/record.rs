//! The events that the stream of a saga's instance consists of.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

/// An event of an instance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum SagaEvent {
    /// The instance started, or reacted: its state after the input, and what is to happen.
    #[serde(rename = "annals.SagaReacted")]
    Reacted {
        key: String,
        /// The number of the run: a key whose instance has ended may start again.
        run: u64,
        input: Input,
        state: Value,
        actions: Vec<Recorded>,
    },
    #[serde(rename = "annals.SagaCommandSent")]
    Sent { step: u64 },
    #[serde(rename = "annals.SagaCommandRejected")]
    Rejected { step: u64, reason: String },
    #[serde(rename = "annals.SagaStepCompensated")]
    Compensated { step: u64 },
    #[serde(rename = "annals.SagaStuck")]
    Stuck { step: u64, reason: String, attempts: u32 },
    /// A stuck instance was told to try again.
    #[serde(rename = "annals.SagaRetried")]
    Retried {},
    #[serde(rename = "annals.SagaAbandoned")]
    Abandoned { reason: String },
    #[serde(rename = "annals.SagaCompleted")]
    Completed {},
    /// Every step is compensated.
    #[serde(rename = "annals.SagaFailed")]
    Failed { reason: String },
}

/// What an instance reacted to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub(super) enum Input {
    /// An event of the log; `part` counts the events that an upcaster splits it into.
    Event {
        position: u64,
        part: u32,
        id: Uuid,
    },
    Timer {
        name: String,
        token: u64,
    },
    Rejection {
        step: u64,
    },
}

/// An action, with the number that it got.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub(super) enum Recorded {
    Send {
        step: u64,
        command: Value,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        compensation: Option<Value>,
    },
    #[serde(rename_all = "camelCase")]
    SetTimer {
        name: String,
        /// Tells this setting of the timer from others of the same name.
        token: u64,
        due_micros: i64,
    },
    CancelTimer {
        name: String,
    },
    Complete,
    Fail {
        reason: String,
    },
}
