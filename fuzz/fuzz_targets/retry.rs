#![no_main]
//! See `src/retry.rs`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| stepwell_fuzz::check("retry", data));
