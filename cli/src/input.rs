//! Payloads from the command line: JSON as it is, `@file`, or `-` for stdin.

use std::fs::File;
use std::io::{self, Read};

use stepwell_encryption::{Payloads, Place};
use stepwell_shared::api::ApiError;
use stepwell_shared::error_code::ErrorCode;
use stepwell_shared::ids::{InvalidId, WorkflowId};
use stepwell_shared::limits::MAX_PAYLOAD_BYTES;
use stepwell_shared::payload::Payload;

use crate::exit::{Exit, Failure};

/// Reads the payload that `argument` stands for; `null` when there is none.
pub(crate) fn payload(option: &str, argument: Option<&str>) -> Result<Payload, Failure> {
    let wrong = |reason: String| Failure::new(Exit::Usage, format!("{option}: {reason}"));
    let text = match argument {
        None => return Ok(Payload::null()),
        Some("-") => {
            read(io::stdin().lock()).map_err(|error| wrong(format!("cannot read stdin: {error}")))?
        }
        Some(argument) => match argument.strip_prefix('@') {
            Some(path) => {
                let file = File::open(path).and_then(read);
                file.map_err(|error| wrong(format!("cannot read {path}: {error}")))?
            }
            None => argument.to_owned(),
        },
    };
    if text.len() > MAX_PAYLOAD_BYTES {
        return Err(wrong(format!(
            "it has more than {MAX_PAYLOAD_BYTES} bytes; store large data elsewhere and pass a reference"
        )));
    }
    Payload::from_json(text).map_err(|error| {
        wrong(format!(
            "it is not JSON: {error}; a text needs double quotes of its own, as in '\"some text\"'"
        ))
    })
}

/// Encrypts a payload for workflow `id`, if there are keys.
pub(crate) fn seal(
    payloads: &Payloads,
    option: &str,
    id: &WorkflowId,
    place: Place<'_>,
    mut payload: Payload,
) -> Result<Payload, Failure> {
    let sealed = payloads.seal(id, place, &mut payload);
    sealed.map_err(|error| Failure::new(Exit::Usage, format!("{option}: {error}")))?;
    Ok(payload)
}

/// An id or name of the command line, checked.
pub(crate) fn checked<T>(id: Result<T, InvalidId>) -> Result<T, Failure> {
    // The same words as the orchestrator's.
    let refused =
        |error: InvalidId| ApiError { code: ErrorCode::InvalidId, message: error.to_string(), run_id: None };
    id.map_err(|error| refused(error).into())
}

fn read(source: impl Read) -> io::Result<String> {
    let limit = u64::try_from(MAX_PAYLOAD_BYTES).unwrap_or(u64::MAX);
    let mut text = String::new();
    // One byte more than allowed is enough to see that it is too much.
    source.take(limit + 1).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_json_as_it_is() {
        let read = |text| payload("--input", Some(text)).map(|payload| payload.json().to_owned());
        assert_eq!(payload("--input", None).unwrap().json(), "null");
        assert_eq!(read(" {\"a\": 1.0} ").unwrap(), "{\"a\": 1.0}");
        assert!(read("doc-7").is_err());
        assert!(read("@/nowhere/at/all").is_err());
        assert!(read(&format!("\"{}\"", "x".repeat(MAX_PAYLOAD_BYTES))).is_err());
    }
}
