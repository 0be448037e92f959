#![no_main]
//! See `src/event.rs`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| stepwell_fuzz::check("event", data));
