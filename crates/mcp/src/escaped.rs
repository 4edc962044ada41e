//! Escaping JSON as the content of a JSON string.
//!
//! The answer of a tool occurs twice in its message, once as a string. JSON has a quote every few bytes. So copying the
//! bytes between two quotes takes longer than writing each byte without a branch.

/// The bytes that are escaped at a time.
const CHUNK_BYTES: usize = 16;
/// The most bytes of a chunk that has no control characters, when it is escaped.
const ESCAPED_BYTES: usize = 2 * CHUNK_BYTES;

/// Appends JSON, escaped as `serde_json` escapes the content of a string.
pub(super) fn write(json: &[u8], out: &mut Vec<u8>) {
    let mut start = out.len();
    let mut rest = json;
    let mut unusual = Vec::new();
    // Initialized for all chunks together, as that is faster. Each chunk is written to the start of what is left.
    out.resize(start + bytes_max(rest), 0);
    while let Some((chunk, after)) = rest.split_first_chunk::<CHUNK_BYTES>() {
        rest = after;
        if let Some(space) = space(out, start).filter(|_| !has_control(chunk)) {
            start += write_chunk(chunk, space);
            continue;
        }
        unusual.clear();
        for byte in chunk {
            write_byte(*byte, &mut unusual);
        }
        let end = start + unusual.len();
        out.resize(out.len().max(end + bytes_max(rest)), 0);
        out[start..end].copy_from_slice(&unusual);
        start = end;
    }
    out.truncate(start);
    for byte in rest {
        write_byte(*byte, out);
    }
}

/// The most bytes that this JSON has when it is escaped, if it has no control characters, and the space of a chunk more.
const fn bytes_max(json: &[u8]) -> usize {
    2 * json.len() + ESCAPED_BYTES
}

/// The space of a chunk.
fn space(out: &mut [u8], start: usize) -> Option<&mut [u8; ESCAPED_BYTES]> {
    out.get_mut(start..)?.first_chunk_mut()
}

/// Whether a chunk has a control character. In JSON only white space is one, and serialized JSON has none but in
/// payloads, which stay as they were written.
fn has_control(chunk: &[u8; CHUNK_BYTES]) -> bool {
    has(chunk, |byte| byte < b' ')
}

/// Whether a chunk has such a byte. All bytes are compared at the same time; `any` compares one after the other.
fn has(chunk: &[u8; CHUNK_BYTES], is_such: impl Fn(u8) -> bool) -> bool {
    chunk.iter().fold(0, |found, byte| found | u8::from(is_such(*byte))) != 0
}

fn is_escaped(byte: u8) -> bool {
    byte == b'"' || byte == b'\\'
}

/// Writes a chunk that has no control characters. Returns the number of bytes.
fn write_chunk(chunk: &[u8; CHUNK_BYTES], out: &mut [u8; ESCAPED_BYTES]) -> usize {
    if !has(chunk, is_escaped) {
        out[..CHUNK_BYTES].copy_from_slice(chunk);
        return CHUNK_BYTES;
    }
    let mut end = 0;
    for byte in chunk {
        // A byte that is not escaped overwrites the backslash. The remainder only shows the compiler that both are in
        // bounds.
        out[end % ESCAPED_BYTES] = b'\\';
        end += usize::from(is_escaped(*byte));
        out[end % ESCAPED_BYTES] = *byte;
        end += 1;
    }
    end
}

fn write_byte(byte: u8, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let short = match byte {
        b'"' | b'\\' => byte,
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x08 => b'b',
        0x0c => b'f',
        0..b' ' => {
            out.extend_from_slice(&[
                b'\\',
                b'u',
                b'0',
                b'0',
                HEX[usize::from(byte >> 4)],
                HEX[usize::from(byte & 15)],
            ]);
            return;
        }
        b' '.. => return out.push(byte),
    };
    out.extend_from_slice(&[b'\\', short]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_content_of_a_string_is_escaped_as_serde_json_does_it() {
        let expect = |text: &str| {
            let mut out = b"before".to_vec();
            write(text.as_bytes(), &mut out);
            let string = serde_json::to_string(text).unwrap();
            assert_eq!(out, format!("before{}", &string[1..string.len() - 1]).as_bytes(), "{text:?}");
        };
        for byte in 0..=0x7f_u8 {
            for before in 0..40 {
                expect(&format!("{}{}{}", "a".repeat(before), char::from(byte), "\"\\é".repeat(10)));
            }
        }
        for length in 0..100 {
            expect(&"\"".repeat(length));
            expect(&"\u{1}".repeat(length));
            expect(&r#"{"a":"ü\n","b":[1.5,"\""]}"#.repeat(length));
        }
    }
}
