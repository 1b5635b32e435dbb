//! Checkpoints: signed statements of a log's size and root (C2SP tlog-checkpoint over signed-note, Ed25519).

use std::fmt;

use ambit_core::Digest;
use aws_lc_rs::signature::{self, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::{Engine, engine::general_purpose::STANDARD};

/// The longest signed checkpoint that is read, in bytes.
pub(crate) const CHECKPOINT_BYTES_MAX: usize = 64 * 1024;
/// The most signatures of one checkpoint: the log's own and those of witnesses.
const SIGNATURES_MAX: usize = 64;
/// The signature type of Ed25519 (C2SP signed-note).
const ED25519: u8 = 1;
const SIGNATURE_START: &str = "\u{2014} ";

/// What a checkpoint says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Checkpoint {
    /// The log's name.
    pub origin: String,
    /// How many leaves the tree has.
    pub size: u64,
    /// The root of the tree.
    pub root: Digest,
}

/// The key with which a log signs its checkpoints. It never leaves memory in the clear and prints as nothing.
pub struct LogKey {
    pair: Ed25519KeyPair,
    public: [u8; 32],
}

/// What is needed to check a log's checkpoints: its name and public key.
///
/// Its text form is the signed-note verifier key: `name+hash+base64`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct VerifierKey {
    name: String,
    public: [u8; 32],
}

/// A key or its text form is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum KeyError {
    /// The seed gives no key.
    #[error("the seed gives no Ed25519 key; make a new one")]
    Seed,
    /// The name is empty, or holds a space, a line break or `+`.
    #[error(
        "a log's name has no spaces, no line breaks and no `+`; give it one such as `example.org/log`"
    )]
    Name,
    /// The text is no verifier key.
    #[error("the verifier key has not the form `name+hash+base64` of a signed-note Ed25519 key")]
    Form,
}

/// A checkpoint is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CheckpointError {
    /// The text is no checkpoint.
    #[error("the checkpoint is malformed: {0}")]
    Malformed(&'static str),
    /// No signature is by the wanted key.
    #[error(
        "the checkpoint bears no signature by the log's key; check that the verifier key is this log's"
    )]
    Unsigned,
    /// A signature that says it is by the wanted key is not.
    #[error("the checkpoint's signature is wrong: it was altered, or signed by another key")]
    Forged,
    /// It is of another log.
    #[error("the checkpoint is of another log than the key's")]
    OtherOrigin,
}

impl Checkpoint {
    /// Returns the text that is signed: origin, size and root, a line each.
    pub fn text(&self) -> String {
        let root = STANDARD.encode(self.root.as_bytes());
        format!("{}\n{}\n{root}\n", self.origin, self.size)
    }

    /// Reads the text of a signed checkpoint and believes it: no signature is checked.
    ///
    /// # Errors
    /// The text is no checkpoint.
    pub fn parse_unverified(note: &str) -> Result<Self, CheckpointError> {
        let (text, _) = split(note)?;
        parse_text(text)
    }
}

impl LogKey {
    /// Returns the key that grows from `seed`, 32 secret random bytes.
    ///
    /// # Errors
    /// The seed gives no key.
    pub fn from_seed(seed: &[u8; 32]) -> Result<Self, KeyError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| KeyError::Seed)?;
        let public =
            <[u8; 32]>::try_from(pair.public_key().as_ref()).map_err(|_| KeyError::Seed)?;
        Ok(Self { pair, public })
    }

    /// Returns what others need to check the checkpoints of the log `name`.
    ///
    /// # Errors
    /// The name holds a space, a line break or `+`.
    pub fn verifier(&self, name: &str) -> Result<VerifierKey, KeyError> {
        VerifierKey::new(name, self.public)
    }

    /// Returns the signed checkpoint; its origin is the key's name.
    pub fn sign(&self, checkpoint: &Checkpoint) -> String {
        let text = checkpoint.text();
        let mut signature = key_hash(&checkpoint.origin, &self.public).to_vec();
        signature.extend_from_slice(self.pair.sign(text.as_bytes()).as_ref());
        let signature = STANDARD.encode(signature);
        format!(
            "{text}\n{SIGNATURE_START}{} {signature}\n",
            checkpoint.origin
        )
    }
}

impl fmt::Debug for LogKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LogKey(..)")
    }
}

impl VerifierKey {
    fn new(name: &str, public: [u8; 32]) -> Result<Self, KeyError> {
        let bad = |it: char| it.is_whitespace() || it.is_control() || it == '+';
        if name.is_empty() || name.contains(bad) {
            return Err(KeyError::Name);
        }
        Ok(Self {
            name: name.to_owned(),
            public,
        })
    }

    /// Returns the log's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Reads a signed checkpoint of this log. Signatures by keys of others, such as witnesses, are passed over.
    ///
    /// # Errors
    /// The text is malformed, not signed by this key, or of another log.
    pub fn open(&self, note: &str) -> Result<Checkpoint, CheckpointError> {
        let (text, signatures) = split(note)?;
        self.check(text, signatures)?;
        let checkpoint = parse_text(text)?;
        if checkpoint.origin != self.name {
            return Err(CheckpointError::OtherOrigin);
        }
        Ok(checkpoint)
    }

    fn check(&self, text: &str, signatures: &str) -> Result<(), CheckpointError> {
        let ours = key_hash(&self.name, &self.public);
        let mut found = Err(CheckpointError::Unsigned);
        for (place, line) in signatures.lines().enumerate() {
            if place >= SIGNATURES_MAX {
                return Err(CheckpointError::Malformed("it has too many signatures"));
            }
            let (name, bytes) = signature_line(line)?;
            let Some((hash, signature)) = bytes.split_first_chunk::<4>() else {
                return Err(CheckpointError::Malformed("a signature is too short"));
            };
            if name != self.name || *hash != ours {
                continue;
            }
            UnparsedPublicKey::new(&signature::ED25519, &self.public)
                .verify(text.as_bytes(), signature)
                .map_err(|_| CheckpointError::Forged)?;
            found = Ok(());
        }
        found
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+", self.name)?;
        for byte in key_hash(&self.name, &self.public) {
            write!(f, "{byte:02x}")?;
        }
        let mut key = vec![ED25519];
        key.extend_from_slice(&self.public);
        write!(f, "+{}", STANDARD.encode(key))
    }
}

impl std::str::FromStr for VerifierKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(_), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(KeyError::Form);
        };
        let key = STANDARD.decode(key).map_err(|_| KeyError::Form)?;
        let Some((&ED25519, public)) = key.split_first() else {
            return Err(KeyError::Form);
        };
        let public = <[u8; 32]>::try_from(public).map_err(|_| KeyError::Form)?;
        let found = Self::new(name, public)?;
        // The hash and the spelling are checked by writing the key again.
        if found.to_string() == text {
            Ok(found)
        } else {
            Err(KeyError::Form)
        }
    }
}

/// The first four bytes of SHA-256 over name, line break, signature type and public key (C2SP signed-note).
fn key_hash(name: &str, public: &[u8; 32]) -> [u8; 4] {
    let hash = Digest::of_parts(&[name.as_bytes(), b"\n", &[ED25519], public]);
    let [a, b, c, d, ..] = *hash.as_bytes();
    [a, b, c, d]
}

/// Splits a note into the signed text, with its last line break, and the signature lines.
fn split(note: &str) -> Result<(&str, &str), CheckpointError> {
    if note.len() > CHECKPOINT_BYTES_MAX {
        return Err(CheckpointError::Malformed("it is too long"));
    }
    let (text, signatures) = note
        .rsplit_once("\n\n")
        .ok_or(CheckpointError::Malformed("it has no signatures"))?;
    if signatures.is_empty() || !signatures.ends_with('\n') {
        return Err(CheckpointError::Malformed("its last line is cut off"));
    }
    let text = note
        .get(..text.len() + 1)
        .ok_or(CheckpointError::Malformed("it has no text"))?;
    Ok((text, signatures))
}

fn signature_line(line: &str) -> Result<(&str, Vec<u8>), CheckpointError> {
    let malformed = CheckpointError::Malformed("a signature line is not `\u{2014} name base64`");
    let (name, signature) = line
        .strip_prefix(SIGNATURE_START)
        .and_then(|rest| rest.split_once(' '))
        .ok_or(malformed)?;
    let bytes = STANDARD.decode(signature).map_err(|_| malformed)?;
    Ok((name, bytes))
}

fn parse_text(text: &str) -> Result<Checkpoint, CheckpointError> {
    let malformed =
        CheckpointError::Malformed("its text is not origin, size and root, a line each");
    let mut lines = text.split('\n');
    let (Some(origin), Some(size), Some(root)) = (lines.next(), lines.next(), lines.next()) else {
        return Err(malformed);
    };
    let root = STANDARD.decode(root).map_err(|_| malformed)?;
    let checkpoint = Checkpoint {
        origin: origin.to_owned(),
        size: size.parse().map_err(|_| malformed)?,
        root: Digest::from_bytes(root.try_into().map_err(|_| malformed)?),
    };
    // One text has one spelling: no leading zeros, no signs, no extension lines (which Ambit never writes).
    if origin.is_empty() || checkpoint.text() != text {
        return Err(malformed);
    }
    Ok(checkpoint)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed() -> (VerifierKey, Checkpoint, String) {
        let key = LogKey::from_seed(&[7; 32]).unwrap();
        let checkpoint = Checkpoint {
            origin: "example.org/log".to_owned(),
            size: 42,
            root: Digest::of(b"root"),
        };
        let note = key.sign(&checkpoint);
        (key.verifier("example.org/log").unwrap(), checkpoint, note)
    }

    #[test]
    fn a_checkpoint_opens_with_its_key_alone() {
        let (verifier, checkpoint, note) = signed();
        assert_eq!(verifier.open(&note), Ok(checkpoint.clone()));
        assert_eq!(Checkpoint::parse_unverified(&note), Ok(checkpoint));
        let other = LogKey::from_seed(&[8; 32]).unwrap();
        let other = other.verifier("example.org/log").unwrap();
        assert_eq!(other.open(&note), Err(CheckpointError::Unsigned));
        let with_witness = format!("{note}\u{2014} witness.example AAAAAAAA\n");
        assert!(verifier.open(&with_witness).is_ok());
    }

    #[test]
    fn an_altered_checkpoint_is_refused() {
        let (verifier, _, note) = signed();
        let check = |note: &str| assert!(verifier.open(note).is_err(), "{note}");
        check("");
        check(&note.replace("42", "43"));
        check(&note.replace("42", "042"));
        check(&note.replace("42\n", "42\nextension\n"));
        check(&note.replace("example.org/log\n", "example.org/log2\n"));
        check(note.trim_end());
        check(&note.replace("\n\n", "\n"));
        check(&note.replace('\n', "\r\n"));
        check(&"x".repeat(CHECKPOINT_BYTES_MAX + 1));
        let line = "\u{2014} witness.example AAAAAAAA\n";
        let at = format!("{note}{}", line.repeat(SIGNATURES_MAX - 1));
        assert!(verifier.open(&at).is_ok(), "at the maximum");
        check(&format!("{at}{line}"));
    }

    #[test]
    fn a_verifier_key_reads_back_what_it_printed() {
        let (verifier, ..) = signed();
        let text = verifier.to_string();
        assert_eq!(text.parse(), Ok(verifier));
        for bad in [
            "",
            "a",
            "a+b",
            "a+00000000+AAAA",
            &text.replace("log", "lag"),
        ] {
            assert!(bad.parse::<VerifierKey>().is_err(), "{bad}");
        }
        let key = LogKey::from_seed(&[7; 32]).unwrap();
        for name in ["", "a b", "a+b", "a\nb"] {
            assert_eq!(key.verifier(name), Err(KeyError::Name), "{name:?}");
        }
        assert_eq!(format!("{key:?}"), "LogKey(..)");
    }
}
