//! Messages of JSON-RPC 2.0: <https://www.jsonrpc.org/specification>.

use serde_json::{Value, json};

use super::lines::{LINE_BYTES_MAX, Line};

/// A request, which has a response.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) id: Value,
    pub(super) method: String,
    pub(super) params: Value,
}

/// Why there is no result.
#[derive(Debug)]
pub(super) struct Problem {
    code: i32,
    message: String,
}

impl Problem {
    fn new(code: i32, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    fn invalid_request(message: impl Into<String>) -> Self {
        Self::new(-32600, message)
    }

    pub(super) fn no_method(method: &str) -> Self {
        let message = "this server has initialize, ping, tools/list and tools/call";
        Self::new(
            -32601,
            format!("there is no method '{}': {message}", method.escape_debug()),
        )
    }

    pub(super) fn invalid_params(message: impl Into<String>) -> Self {
        Self::new(-32602, message)
    }

    pub(super) fn response(&self, id: &Value) -> Value {
        json!({ "jsonrpc": "2.0", "id": id, "error": { "code": self.code, "message": self.message } })
    }
}

impl Request {
    /// Reads a message; `None` if it is a notification or a response, which are not responded to.
    ///
    /// # Errors
    ///
    /// The problem, with the id of the request if it can be read.
    pub(super) fn read(line: &Line) -> Result<Option<Self>, (Value, Problem)> {
        let Line::Whole(bytes) = line else {
            let message = format!("a message may have {LINE_BYTES_MAX} bytes, and this one has more");
            return Err((Value::Null, Problem::invalid_request(message)));
        };
        if bytes.trim_ascii().is_empty() {
            return Ok(None);
        }
        let message: Value = serde_json::from_slice(bytes).map_err(|error| {
            (
                Value::Null,
                Problem::new(-32700, format!("the line is no JSON: {error}")),
            )
        })?;
        Self::of(message)
    }

    fn of(message: Value) -> Result<Option<Self>, (Value, Problem)> {
        let Value::Object(mut fields) = message else {
            let problem = Problem::invalid_request("a message is one JSON object: batches are not supported");
            return Err((Value::Null, problem));
        };
        let (id, method) = (fields.remove("id"), fields.remove("method"));
        if method.is_none() && (fields.contains_key("result") || fields.contains_key("error")) {
            return Ok(None);
        }
        let id = match id {
            None if matches!(method, Some(Value::String(_))) => return Ok(None),
            Some(id @ (Value::String(_) | Value::Number(_))) => id,
            _ => return Err((Value::Null, Problem::invalid_request("the id is a string or a number"))),
        };
        let Some(Value::String(method)) = method else {
            return Err((id, Problem::invalid_request("the method is a string")));
        };
        Ok(Some(Self {
            id,
            method,
            params: fields.remove("params").unwrap_or_default(),
        }))
    }
}
