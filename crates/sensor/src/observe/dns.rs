//! Reading DNS messages (RFC 1035), which anybody may send us: no step trusts a length or a pointer.

use super::event::DnsAnswer;
use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};

/// What a message says.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Message {
    /// Message id.
    pub id: u16,
    /// Whether it is an answer.
    pub answer: bool,
    /// Name asked for.
    pub name: String,
    /// Type asked for.
    pub record_type: u16,
    /// Response code.
    pub response_code: u8,
    /// Answers.
    pub answers: Vec<DnsAnswer>,
    /// Whether it ended too early or was more than we keep.
    pub cut: bool,
}

/// Answers kept of one message: more than any resolver sends in 512 bytes.
const ANSWERS_MAX: usize = 32;
/// Jumps followed in one name. Real names need one or two; a loop would never end.
const JUMPS_MAX: usize = 16;
/// Longest name in presentation form: 255 bytes, each at most 4 characters.
const NAME_MAX: usize = 1024;
/// Longest text kept of a TXT record.
const TEXT_MAX: usize = 256;

/// Reads a message. None if there is not even a question.
pub fn parse(bytes: &[u8]) -> Option<Message> {
    let word = |at: usize| Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]));
    let flags = word(2)?;
    let questions = word(4)?;
    let answers = word(6)?;
    if questions == 0 {
        return None;
    }
    let (name, mut at) = name(bytes, 12)?;
    let record_type = word(at)?;
    at += 4;
    let mut message = Message {
        id: word(0)?,
        answer: flags & 0x8000 != 0,
        name,
        record_type,
        response_code: (flags & 15) as u8,
        answers: Vec::new(),
        cut: flags & 0x0200 != 0,
    };
    // A second question is never sent in practice; its answers could not be told apart.
    if questions > 1 {
        message.cut = true;
        return Some(message);
    }
    for _ in 0..answers {
        if message.answers.len() == ANSWERS_MAX {
            message.cut = true;
            break;
        }
        match answer(bytes, at) {
            Some((record, next)) => {
                message.answers.push(record);
                at = next;
            }
            None => {
                message.cut = true;
                break;
            }
        }
    }
    Some(message)
}

fn answer(bytes: &[u8], at: usize) -> Option<(DnsAnswer, usize)> {
    let (_, at) = name(bytes, at)?;
    let fixed = bytes.get(at..at + 10)?;
    let kind = u16::from_be_bytes([fixed[0], fixed[1]]);
    let length = usize::from(u16::from_be_bytes([fixed[8], fixed[9]]));
    let start = at + 10;
    let data = bytes.get(start..start + length)?;
    let record = match kind {
        1 => DnsAnswer::Address(Ipv4Addr::from(<[u8; 4]>::try_from(data).ok()?).into()),
        28 => DnsAnswer::Address(Ipv6Addr::from(<[u8; 16]>::try_from(data).ok()?).into()),
        2 | 5 | 12 => DnsAnswer::Name(name(bytes, start)?.0),
        15 if length > 2 => DnsAnswer::Name(name(bytes, start + 2)?.0),
        16 => DnsAnswer::Text(text(data)),
        other => DnsAnswer::Other(other),
    };
    Some((record, start + length))
}

fn text(mut data: &[u8]) -> String {
    let mut out = String::new();
    while let Some((length, rest)) = data.split_first() {
        let part = rest.get(..usize::from(*length)).unwrap_or(rest);
        for b in part {
            if out.len() >= TEXT_MAX {
                return out;
            }
            push(&mut out, *b);
        }
        data = &rest[part.len()..];
    }
    out
}

fn push(out: &mut String, byte: u8) {
    match byte {
        b'!'..=b'~' if byte != b'\\' => out.push(byte as char),
        b' ' => out.push(' '),
        _ => {
            // Writing to a String cannot fail.
            let _ = write!(out, "\\{byte:03}");
        }
    }
}

/// A name and the offset behind it.
fn name(bytes: &[u8], mut at: usize) -> Option<(String, usize)> {
    let mut out = String::new();
    let mut end = None;
    let mut jumps = 0;
    loop {
        let length = *bytes.get(at)?;
        match length >> 6 {
            0 if length == 0 => return Some((out, end.unwrap_or(at + 1))),
            0 => {
                let label = bytes.get(at + 1..at + 1 + usize::from(length))?;
                if !out.is_empty() {
                    out.push('.');
                }
                for b in label {
                    push(&mut out, b.to_ascii_lowercase());
                }
                if out.len() > NAME_MAX {
                    return None;
                }
                at += 1 + usize::from(length);
            }
            3 => {
                jumps += 1;
                if jumps > JUMPS_MAX {
                    return None;
                }
                end = end.or(Some(at + 2));
                at = usize::from(u16::from_be_bytes([length & 0x3f, *bytes.get(at + 1)?]));
            }
            _ => return None,
        }
    }
}

/// Name of a record type, such as `A`; the number if it has no common name.
pub fn type_name(record_type: u16) -> String {
    match record_type {
        1 => "A".into(),
        2 => "NS".into(),
        5 => "CNAME".into(),
        6 => "SOA".into(),
        12 => "PTR".into(),
        15 => "MX".into(),
        16 => "TXT".into(),
        28 => "AAAA".into(),
        33 => "SRV".into(),
        64 => "SVCB".into(),
        65 => "HTTPS".into(),
        255 => "ANY".into(),
        other => format!("TYPE{other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn question(name: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        bytes.extend_from_slice(name);
        bytes.extend_from_slice(&[0, 1, 0, 1]);
        bytes
    }

    #[test]
    fn question_and_answer_are_read() {
        let mut bytes = question(b"\x04EviL\x07example\0");
        let read = parse(&bytes).unwrap();
        assert_eq!((read.name.as_str(), read.record_type, read.answer, read.id), ("evil.example", 1, false, 0x1234));
        bytes[2] = 0x81;
        bytes[7] = 2;
        bytes.extend_from_slice(&[0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 9, 0, 4, 1, b'x', 0xc0, 17]);
        bytes.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 10, 1, 2, 3]);
        let read = parse(&bytes).unwrap();
        assert!(read.answer && !read.cut);
        assert_eq!(
            read.answers,
            [DnsAnswer::Name("x.example".into()), DnsAnswer::Address("10.1.2.3".parse().unwrap())]
        );
    }

    #[test]
    fn a_name_that_points_at_itself_is_refused() {
        let mut bytes = question(b"\0");
        bytes.truncate(12);
        bytes.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1]);
        assert_eq!(parse(&bytes), None);
    }

    proptest! {
        #[test]
        fn no_message_makes_us_fall(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            if let Some(message) = parse(&bytes) {
                prop_assert!(message.answers.len() <= ANSWERS_MAX);
            }
        }

        #[test]
        fn no_broken_answer_makes_us_fall(tail in proptest::collection::vec(any::<u8>(), 0..200), count in any::<u8>()) {
            let mut bytes = question(b"\x01a\0");
            bytes[7] = count;
            bytes.extend(tail);
            prop_assert!(parse(&bytes).is_some());
        }
    }
}
