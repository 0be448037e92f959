//! Which partition a workflow id belongs to, computed exactly as nats-server's `partition(n, token)`
//! subject mapping does: FNV-1a, 32 bit, over the bytes of the subject token, modulo `n`.

/// The partition of an **escaped** workflow id token among `partitions`.
#[must_use]
pub fn partition_of_token(token: &str, partitions: u32) -> u32 {
    let hash =
        token.bytes().fold(0x811c_9dc5u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    hash % partitions.max(1)
}
