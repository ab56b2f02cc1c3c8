//! Words of a user's in our sentences.

/// A word of the user's as a sentence can hold it: escaped and not too long.
pub fn shown(word: &str) -> String {
    const LONGEST: usize = 64;
    let escaped: String = word.escape_debug().take(LONGEST + 1).collect();
    if escaped.chars().count() > LONGEST { escaped.chars().take(LONGEST).chain(['…']).collect() } else { escaped }
}
