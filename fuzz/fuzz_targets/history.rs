#![no_main]
//! See `src/history.rs`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| stepwell_fuzz::check("history", data));
