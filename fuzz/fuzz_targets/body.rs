#![no_main]
//! See `src/body.rs`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| stepwell_fuzz::check("body", data));
