#![no_main]
//! See `src/records.rs`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| stepwell_fuzz::check("records", data));
