#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    cthulhu_fuzz::compose::takes(data);
});
