#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    cthulhu_fuzz::agent_protocol::takes(data);
});
