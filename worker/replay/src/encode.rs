//! Encoding of the values that workflow code hands out, with the size limit that everything recorded
//! has. The error texts complete a sentence that begins with what the value is.

use serde::Serialize;
use stepwell_shared::limits::MAX_PAYLOAD_BYTES;
use stepwell_shared::payload::Payload;

/// The JSON of `value`, or the rest of a sentence such as "its input …" that says why there is none.
pub(crate) fn encode_bounded<T: Serialize>(value: &T) -> Result<Payload, String> {
    let payload = Payload::encode(value)
        .map_err(|error| format!("(a `{}`) has no JSON form: {error}", std::any::type_name::<T>()))?;
    check_size(payload)
}

/// Checks the size alone.
pub(crate) fn check_size(payload: Payload) -> Result<Payload, String> {
    if payload.size() <= MAX_PAYLOAD_BYTES {
        return Ok(payload);
    }
    Err(format!(
        "has {} bytes of JSON; at most {MAX_PAYLOAD_BYTES} are allowed. Keep large data in an object store \
         and hand over its key",
        payload.size()
    ))
}
