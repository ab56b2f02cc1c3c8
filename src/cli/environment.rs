//! The nodes' environment, as `-e` and `--env-file` give it.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::daemon::Variable;

/// The variables of `--env-file`, read as docker run reads them, and after them those of `-e`.
///
/// # Errors
/// A sentence that names the file and line, or the option.
pub(crate) fn variables(files: &[PathBuf], options: &[String]) -> Result<Vec<Variable>> {
    let mut all = vec![];
    for path in files {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        for (at, line) in text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&text).split('\n').enumerate() {
            let line = line.strip_suffix('\r').unwrap_or(line).trim_start();
            if !line.is_empty() && !line.starts_with('#') {
                let variable = from_file(line).with_context(|| format!("{} line {}", path.display(), at + 1))?;
                all.push(variable);
            }
        }
    }
    for option in options {
        all.push(variable(option, true).context("-e")?);
    }
    Ok(all)
}

/// What editors on Windows begin a text with.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// A line of a file: K=V, or K alone, which takes its value from our own environment.
fn from_file(line: &str) -> Result<Variable> {
    if line.contains('=') {
        return variable(line, false);
    }
    let unset = variable(&format!("{line}="), false)?;
    match std::env::var(line) {
        Ok(value) => Ok(Variable { value, ..unset }),
        Err(std::env::VarError::NotPresent) => {
            bail!(
                "'{line}' is not of the form K=V, and there is no variable of that name here whose value it could take"
            )
        }
        Err(std::env::VarError::NotUnicode(_)) => bail!("the value of {line} here is not UTF-8 text"),
    }
}

fn variable(line: &str, is_template: bool) -> Result<Variable> {
    if line.contains('\0') {
        bail!("'{}' has a NUL byte in it", line.escape_debug());
    }
    let Some((name, value)) = line.split_once('=').filter(|(name, _)| !name.trim().is_empty()) else {
        bail!("'{line}' is not of the form K=V");
    };
    // Docker takes some of these from -e. No program asks for such a name, and no shell can.
    if name.contains(|c: char| c.is_whitespace() || c.is_control() || c == BYTE_ORDER_MARK) {
        let hint = if name.starts_with("export ") { "; leave 'export' out, this is no shell script" } else { "" };
        bail!("'{}' is no name of a variable: it has a blank or a control character in it{hint}", name.escape_debug());
    }
    Ok(Variable { name: name.into(), value: value.into(), is_template })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_have_names() {
        let check = |line| variable(line, true);
        assert_eq!(check("A=b=c").unwrap().value, "b=c");
        assert!(check("A=").is_ok());
        assert!(check("A").is_err() && check("=x").is_err());
        assert!(check("A=\0").unwrap_err().to_string().contains("NUL"), "no program can have it");
        for wrong in [" A=1", "A =1", "A B=1", "A\tB=1", "A\u{a0}B=1", "\u{feff}A=1", "A\u{b}=1", "A\n=1", "A\u{1b}=1"]
        {
            assert!(check(wrong).unwrap_err().to_string().contains("no name"), "{wrong:?}");
        }
        for good in ["A.b-c=1", "é=1", "A= 1 ", "A=B=C", "A=\t\n", "1=2"] {
            assert!(check(good).is_ok(), "{good:?}");
        }
        assert!(check("export A=1").unwrap_err().to_string().contains("leave 'export' out"));
    }
}
