#![no_main]
//! See `src/pack.rs`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| stepwell_fuzz::check("pack", data));
