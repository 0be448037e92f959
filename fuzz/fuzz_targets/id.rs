#![no_main]
//! See `src/id.rs`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| stepwell_fuzz::check("id", data));
