#![no_main]
//! See `src/subject.rs`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| stepwell_fuzz::check("subject", data));
