//! What goes over the stream: frames, each encoded by COBS (S. Cheshire, M. Baker, "Consistent Overhead Byte Stuffing",
//! 1999) and followed by a zero byte.
//!
//! An encoded frame has no zero byte, so the next one is found wherever a connection broke off. A frame is its number, 8
//! bytes, and a value in the encoding of postcard. Of that encoding no value is the beginning of another, so a frame that
//! was cut short is never taken for a whole one.

use std::io;

use serde::Serialize;
use serde::de::Deserialize;

/// Most bytes of a frame, encoded. A file of a configuration may have 16 MiB; all else is smaller than 1 MiB and a little.
pub(super) const MAX_FRAME: usize = 20 << 20;

/// Buffer space that is kept from one frame to the next; more is given back.
const KEPT: usize = 2 << 20;

/// Bytes of a frame's number.
const NUMBER: usize = 8;

/// A value as it comes in a frame.
///
/// # Errors
/// A value that cannot be encoded, or would be passed over as too long.
pub(super) fn body(value: &impl Serialize) -> io::Result<Vec<u8>> {
    // The number's place.
    let body = postcard::to_extend(value, vec![0; NUMBER]).map_err(io::Error::other)?;
    if cobs::max_encoding_length(body.len()) > MAX_FRAME {
        let most = MAX_FRAME >> 20;
        return Err(io::Error::other(format!("too large for one request: it may have {most} MiB")));
    }
    Ok(body)
}

/// Appends a frame to `out`: a [`body`] with its number.
pub(super) fn append(number: u64, mut body: Vec<u8>, out: &mut Vec<u8>) {
    body[..NUMBER].copy_from_slice(&number.to_le_bytes());
    let start = out.len();
    out.resize(start + cobs::max_encoding_length(body.len()) + 1, 0);
    let length = cobs::encode(&body, &mut out[start..]);
    // What follows is a zero already.
    out.truncate(start + length + 1);
}

/// Number and value of a decoded frame.
pub(super) fn parse<'a, T: Deserialize<'a>>(frame: &'a [u8]) -> Option<(u64, T)> {
    let (number, value) = frame.split_first_chunk::<NUMBER>()?;
    match postcard::take_from_bytes(value) {
        Ok((value, [])) => Some((u64::from_le_bytes(*number), value)),
        _ => None,
    }
}

/// Finds frames in what was received.
#[derive(Debug)]
pub(super) struct Frames {
    /// The part of an encoded frame received so far.
    partial: Vec<u8>,
    /// What comes before the next zero byte is the rest of something, or too long: it is no frame.
    skips: bool,
}

impl Frames {
    /// With `joins`, the stream may begin within a frame; so everything up to the first zero byte is passed over.
    pub(super) fn new(joins: bool) -> Self {
        Self { partial: Vec::new(), skips: joins }
    }

    /// The decoded frames that `received` completes, one after the other. What cannot be decoded is passed over.
    pub(super) fn push<'a>(&'a mut self, received: &'a [u8]) -> impl Iterator<Item = Vec<u8>> + 'a {
        let mut rest = received;
        std::iter::from_fn(move || {
            while !rest.is_empty() {
                let end = rest.iter().position(|byte| *byte == 0);
                let piece = &rest[..end.unwrap_or(rest.len())];
                rest = end.map_or(&[], |end| &rest[end + 1..]);
                if self.partial.len() + piece.len() > MAX_FRAME {
                    self.skips = true;
                }
                if !self.skips {
                    self.partial.extend_from_slice(piece);
                }
                if end.is_none() {
                    continue;
                }
                let skips = std::mem::take(&mut self.skips);
                let mut frame = std::mem::take(&mut self.partial);
                if skips || frame.is_empty() {
                    continue;
                }
                if let Ok(length) = cobs::decode_in_place(&mut frame) {
                    frame.truncate(length);
                    return Some(frame);
                }
            }
            self.partial.shrink_to(KEPT);
            None
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(number: u64, text: &str) -> Vec<u8> {
        let mut out = vec![];
        append(number, body(&text).unwrap(), &mut out);
        out
    }

    fn pushed(frames: &mut Frames, received: &[u8]) -> Vec<(u64, String)> {
        frames.push(received).filter_map(|frame| parse(&frame)).collect()
    }

    #[test]
    fn frames_are_found_however_they_are_cut() {
        let all = [frame(1, "a\0b"), frame(u64::MAX, ""), frame(0, &"x\0".repeat(1000))].concat();
        for size in [1, 2, 3, 7, all.len()] {
            let mut frames = Frames::new(false);
            let found: Vec<_> = all.chunks(size).flat_map(|chunk| pushed(&mut frames, chunk)).collect();
            assert_eq!(found, [(1, "a\0b".into()), (u64::MAX, String::new()), (0, "x\0".repeat(1000))]);
        }
    }

    #[test]
    fn after_a_break_the_next_frame_is_found() {
        let (whole, next) = (frame(1, "some\0text"), frame(2, "next"));
        for cut in 0..whole.len() {
            // What came of the first, and a zero byte that ends it.
            let begun = [&whole[..cut], &[0], &next[..]].concat();
            let found = pushed(&mut Frames::new(false), &begun);
            let expected = [(1, "some\0text".to_owned()), (2, "next".to_owned())];
            assert_eq!(found, if cut == whole.len() - 1 { &expected[..] } else { &expected[1..] }, "{cut}");
            // Its end, then the next.
            let joined = [&whole[cut..], &next[..]].concat();
            assert_eq!(pushed(&mut Frames::new(true), &joined), &expected[1..], "{cut}");
        }
    }

    #[test]
    fn what_is_too_long_is_passed_over() {
        assert!(body(&vec![1_u8; MAX_FRAME]).is_err() && body(&vec![1_u8; 16 << 20]).is_ok());
        let mut frames = Frames::new(false);
        let chunk = vec![7; 1 << 20];
        for _ in 0..=MAX_FRAME >> 20 {
            assert!(pushed(&mut frames, &chunk).is_empty());
            assert!(frames.partial.len() <= MAX_FRAME);
        }
        assert!(pushed(&mut frames, &[0]).is_empty());
        assert_eq!(pushed(&mut frames, &frame(3, "on")), [(3, "on".into())]);
    }

    #[test]
    fn a_value_with_something_after_it_is_none() {
        let mut long = body(&"x").unwrap();
        long.push(1);
        assert_eq!(parse::<String>(&long), None);
        assert_eq!(parse::<String>(&long[..4]), None);
    }
}
