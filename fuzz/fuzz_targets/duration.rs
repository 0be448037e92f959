#![no_main]
//! See `src/duration.rs`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| stepwell_fuzz::check("duration", data));
