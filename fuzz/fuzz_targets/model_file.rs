//! Headers of model files, changed at random and by what they reach; see `strongroom::engine::fuzz`.

#![no_main]

libfuzzer_sys::fuzz_target!(|header: &[u8]| strongroom::engine::fuzz::model_file(header));
