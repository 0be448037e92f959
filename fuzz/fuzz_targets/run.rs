#![no_main]
//! See `src/run.rs`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| stepwell_fuzz::check("run", data));
