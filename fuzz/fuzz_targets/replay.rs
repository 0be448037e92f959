#![no_main]
//! See `src/replay.rs`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| stepwell_fuzz::check("replay", data));
