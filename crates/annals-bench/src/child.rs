//! A child process: it reads its job, and does it.

use std::io::{BufRead, Write};
use std::sync::Arc;

use parking_lot::Mutex;

pub use crate::job::ChildError;
use crate::job::{FAILED, Job, Output, report_line, wrong};
use crate::{crash, processes};

/// Appends as the job on `input` says, and reports on `output`, until `input` ends: the process that started this one has then ended.
///
/// # Errors
///
/// [`ChildError`] if the job is invalid, or the store cannot be opened or loaded.
pub fn child(input: impl BufRead + Send + 'static, output: impl Write + Send + 'static) -> Result<(), ChildError> {
    let output: Output = Arc::new(Mutex::new(Box::new(output)));
    let done = work(input, &output);
    if let Err(error) = &done {
        report_line(&output, &format!("{FAILED} {error}"));
    }
    done
}

fn work(mut input: impl BufRead + Send + 'static, output: &Output) -> Result<(), ChildError> {
    let mut line = String::new();
    input.read_line(&mut line).map_err(|error| wrong(&error))?;
    let job: Job = serde_json::from_str(&line).map_err(|error| wrong(&error))?;
    if let Some(share) = job.share {
        return processes::append(job, share, input, output);
    }
    crash::append(job, input, output)
}
