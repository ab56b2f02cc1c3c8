#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    cthulhu_fuzz::check_lines::takes(data);
});
