//! Content encodings (RFC 9110, section 8.4): compressed bodies and answers.
//!
//! Both are processed in pieces, away from the async threads if they are large. A body's memory is charged to its
//! tenant as the body grows, so a decompression bomb costs no more than any other body of the largest size.

use std::io::{self, Read, Write as _};

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use flate2::Compression;
use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;
use futures_util::stream;
use http_body_util::BodyExt as _;
use hyper::body::Body as _;
use vectorizer_scheduling::run_blocking;
use vectorizer_service::INLINE_BYTES_MAX;
use zstd::stream::raw::DParameter;

use super::problem::Problem;

/// The supported encodings, as a value of `Accept-Encoding`.
const ENCODINGS: &str = "gzip, zstd";

/// The largest zstd window that every decoder has to support (RFC 9659), as a power of two.
const WINDOW_LOG_MAX: u32 = 23;

/// Shorter answers are not compressed: they fit in one packet.
const COMPRESSED_BYTES_MIN: u64 = 1_024;
/// How many bytes of a larger answer are compressed at a time.
const STEP_BYTES: usize = 256 * 1024;

/// A content encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

impl Encoding {
    const ALL: [Self; 2] = [Self::Zstd, Self::Gzip];

    /// Its name in headers.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }

    fn named(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "gzip" | "x-gzip" => Some(Self::Gzip),
            "zstd" => Some(Self::Zstd),
            _ => None,
        }
    }

    /// The encoding of the body with these headers, or an error if it is not supported.
    pub(super) fn of(headers: &HeaderMap) -> Result<Option<Self>, Problem> {
        let mut values = headers.get_all(header::CONTENT_ENCODING).iter();
        let (first, second) = (values.next(), values.next());
        let Some(first) = first else { return Ok(None) };
        let name = first.to_str().unwrap_or_default().trim();
        if second.is_none() && (name.is_empty() || name.eq_ignore_ascii_case("identity")) {
            return Ok(None);
        }
        let encoding = if second.is_none() { Self::named(name) } else { None };
        encoding.map(Some).ok_or_else(|| {
            let sent = if second.is_some() { "given more than once".to_owned() } else { format!("{name:?}") };
            let detail = format!("Content-Encoding is {sent}, it must be gzip or zstd");
            // RFC 9110, section 15.5.16.
            Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-content-encoding", detail)
                .with_header(header::ACCEPT_ENCODING, HeaderValue::from_static(ENCODINGS))
        })
    }

    /// The decompressed size that the body states, or an estimate. It is not trusted.
    pub(super) fn expected_bytes(self, compressed: &[u8]) -> usize {
        /// The ratio for a body that states no size: text and numbers seldom compress to less than an eighth.
        const RATIO: usize = 8;
        let stated = match self {
            // The size of the last member, modulo 2^32.
            Self::Gzip => compressed.last_chunk::<4>().map(|bytes| u64::from(u32::from_le_bytes(*bytes))),
            Self::Zstd => zstd::zstd_safe::get_frame_content_size(compressed).ok().flatten(),
        };
        stated.map_or(RATIO * compressed.len(), |bytes| usize::try_from(bytes).unwrap_or(usize::MAX))
    }

    /// The memory of a decoder beside its output, in bytes.
    pub(super) fn window_bytes(self, compressed: &[u8]) -> usize {
        match self {
            Self::Gzip => 64 * 1024,
            Self::Zstd => zstd_window(compressed),
        }
    }

    /// The encoding that the client prefers for the answer; of equal ones, the fastest.
    fn preferred(headers: &HeaderMap) -> Option<Self> {
        let values = headers.get_all(header::ACCEPT_ENCODING);
        let accepted: Vec<(&str, u16)> = values
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .map(accepted)
            .collect();
        let weight = |encoding: Self| {
            let of = |name: &str| accepted.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
            of(encoding.name()).or_else(|| of("*")).map_or(0, |(_, weight)| *weight)
        };
        let best = Self::ALL.into_iter().rev().max_by_key(|encoding| weight(*encoding))?;
        (weight(best) > 0).then_some(best)
    }
}

/// The window of a zstd frame (RFC 8878, section 3.1.1.1) in bytes, at most the supported one.
fn zstd_window(frame: &[u8]) -> usize {
    const SINGLE_SEGMENT: u8 = 1 << 5;
    let bytes = match frame {
        [_, _, _, _, descriptor, ..] if descriptor & SINGLE_SEGMENT != 0 => {
            Encoding::Zstd.expected_bytes(frame) as u64
        }
        [_, _, _, _, _, window, ..] => {
            let base = 1_u64 << (10 + (window >> 3));
            base + base / 8 * u64::from(window & 7)
        }
        _ => 0,
    };
    usize::try_from(bytes.min(1 << WINDOW_LOG_MAX)).unwrap_or(usize::MAX)
}

/// One part of `Accept-Encoding`: a name, and its weight in thousandths.
fn accepted(part: &str) -> (&str, u16) {
    let (name, parameters) = part.split_once(';').unwrap_or((part, ""));
    let weight = parameters.trim().strip_prefix("q=").map(str::parse::<f32>);
    let thousandths = match weight {
        None => 1_000,
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is between 0 and 1,000"
        )]
        Some(Ok(weight)) if (0.0..=1.0).contains(&weight) => (1_000.0 * weight) as u16,
        Some(_) => 0,
    };
    (name.trim(), thousandths)
}

/// A body that is being decompressed.
pub(super) struct Decompressor {
    decoder: Decoder,
    /// The output so far.
    pub(super) bytes: Vec<u8>,
}

enum Decoder {
    Gzip(MultiGzDecoder<io::Cursor<Bytes>>),
    Zstd(Box<zstd::stream::read::Decoder<'static, io::Cursor<Bytes>>>),
}

/// The problem of a body that cannot be decompressed.
fn malformed(name: &str, error: &io::Error) -> Problem {
    let is_cut = error.kind() == io::ErrorKind::UnexpectedEof;
    let why = if is_cut { "it ends too soon" } else { "its data is damaged" };
    Problem::malformed("malformed-encoding", format!("the body is not {name}: {why}"))
}

impl Decompressor {
    pub(super) fn new(encoding: Encoding, compressed: Bytes) -> Result<Self, Problem> {
        let compressed = io::Cursor::new(compressed);
        let decoder = match encoding {
            Encoding::Gzip => Decoder::Gzip(MultiGzDecoder::new(compressed)),
            Encoding::Zstd => {
                let decoder = zstd::stream::read::Decoder::with_buffer(compressed).and_then(|mut decoder| {
                    decoder.set_parameter(DParameter::WindowLogMax(WINDOW_LOG_MAX))?;
                    // IMPORTANT: only the window of the first frame was charged.
                    Ok(decoder.single_frame())
                });
                Decoder::Zstd(Box::new(decoder.map_err(|_| Problem::internal())?))
            }
        };
        Ok(Self { decoder, bytes: Vec::new() })
    }

    /// Decompresses at most `bytes` more bytes. Returns whether the body has ended.
    pub(super) fn step(&mut self, bytes: usize) -> Result<bool, Problem> {
        let (name, read): (_, &mut dyn Read) = match &mut self.decoder {
            Decoder::Gzip(decoder) => ("gzip", decoder),
            Decoder::Zstd(decoder) => ("zstd", decoder),
        };
        let decompressed = read.take(bytes as u64).read_to_end(&mut self.bytes);
        let is_end = decompressed.map_err(|error| malformed(name, &error))? < bytes;
        if is_end && let Decoder::Zstd(decoder) = &mut self.decoder {
            let compressed = decoder.get_ref();
            if compressed.position() < compressed.get_ref().len() as u64 {
                return Err(Problem::malformed(
                    "malformed-encoding",
                    "the body has data after its zstd frame",
                ));
            }
        }
        Ok(is_end)
    }
}

/// Compresses an answer if the client supports that and the answer does not fit in one packet.
///
/// Answers without a known length are not compressed: clients read them line by line as they are written.
pub(super) async fn compress(request: Request, next: Next) -> Response {
    let preferred = Encoding::preferred(request.headers());
    let mut answer = next.run(request).await;
    let bytes = answer.body().size_hint().exact().unwrap_or(0);
    if bytes < COMPRESSED_BYTES_MIN || answer.headers().contains_key(header::CONTENT_ENCODING) {
        return answer;
    }
    answer.headers_mut().append(header::VARY, HeaderValue::from_static("accept-encoding"));
    let Some(encoding) = preferred else { return answer };
    let (mut parts, body) = answer.into_parts();
    parts.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding.name()));
    parts.headers.remove(header::CONTENT_LENGTH);
    let body = match Compressor::new(encoding) {
        Ok(compressor) if bytes <= INLINE_BYTES_MAX as u64 => match body.collect().await {
            Ok(whole) => compressor.finish(&whole.to_bytes()).map_or_else(|_| broken_body(), Body::from),
            Err(_) => broken_body(),
        },
        Ok(compressor) => compressed_body(body, compressor),
        Err(_) => broken_body(),
    };
    Response::from_parts(parts, body)
}

/// A body that ends with an error. The status cannot change any more.
fn broken_body() -> Body {
    Body::from_stream(stream::iter([Err::<Bytes, _>(io::Error::other("an answer could not be compressed"))]))
}

/// Compresses the body piece by piece, away from the async threads. The body, with its memory permit, is held until all
/// of it is compressed.
fn compressed_body(body: Body, compressor: Compressor) -> Body {
    enum State {
        Whole(Body),
        Rest(Bytes),
    }
    let pieces = stream::try_unfold(Some((State::Whole(body), compressor)), |state| async {
        let Some((state, mut compressor)) = state else { return Ok(None) };
        let mut rest = match state {
            State::Rest(rest) => rest,
            State::Whole(body) => body.collect().await.map_err(io::Error::other)?.to_bytes(),
        };
        let piece = rest.split_to(STEP_BYTES.min(rest.len()));
        let is_last = rest.is_empty();
        let step = move || -> io::Result<(Bytes, Option<Compressor>)> {
            if is_last {
                return Ok((compressor.finish(&piece)?, None));
            }
            Ok((compressor.step(&piece)?, Some(compressor)))
        };
        let (bytes, compressor) = run_blocking(step).await.map_err(io::Error::other)??;
        Ok::<_, io::Error>(Some((bytes, compressor.map(|compressor| (State::Rest(rest), compressor)))))
    });
    Body::from_stream(pieces)
}

/// An encoder for an answer.
enum Compressor {
    Gzip(GzEncoder<Vec<u8>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
}

impl Compressor {
    fn new(encoding: Encoding) -> io::Result<Self> {
        Ok(match encoding {
            Encoding::Gzip => Self::Gzip(GzEncoder::new(Vec::new(), Compression::fast())),
            Encoding::Zstd => Self::Zstd(zstd::stream::write::Encoder::new(Vec::new(), 1)?),
        })
    }

    /// Compresses a piece. Returns the output so far, which may be empty.
    fn step(&mut self, piece: &[u8]) -> io::Result<Bytes> {
        match self {
            Self::Gzip(encoder) => {
                encoder.write_all(piece)?;
                Ok(std::mem::take(encoder.get_mut()).into())
            }
            Self::Zstd(encoder) => {
                encoder.write_all(piece)?;
                Ok(std::mem::take(encoder.get_mut()).into())
            }
        }
    }

    fn finish(mut self, piece: &[u8]) -> io::Result<Bytes> {
        let mut bytes = self.step(piece)?.to_vec();
        bytes.extend(match self {
            Self::Gzip(encoder) => encoder.finish()?,
            Self::Zstd(encoder) => encoder.finish()?,
        });
        Ok(bytes.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn preferred(accepted: &str) -> Option<&'static str> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_str(accepted).unwrap());
        Encoding::preferred(&headers).map(Encoding::name)
    }

    #[test]
    fn an_answer_has_the_encoding_that_its_client_prefers() {
        assert_eq!(Encoding::preferred(&HeaderMap::new()), None);
        for (accepted, encoding) in [
            ("gzip", Some("gzip")),
            ("gzip, deflate, br", Some("gzip")),
            ("gzip, deflate, br, zstd", Some("zstd")),
            ("zstd;q=0.5, gzip;q=0.8", Some("gzip")),
            ("gzip;q=0", None),
            ("*", Some("zstd")),
            ("zstd;q=0, *;q=0.1", Some("gzip")),
            ("identity", None),
            ("br", None),
            ("gzip;q=2", None),
            ("GZIP ; q=0.001", Some("gzip")),
            ("", None),
        ] {
            assert_eq!(preferred(accepted), encoding, "{accepted:?}");
        }
    }

    fn decompressed(encoding: Encoding, compressed: Vec<u8>) -> Result<Vec<u8>, Problem> {
        let mut decompressor = Decompressor::new(encoding, compressed.into())?;
        while !decompressor.step(100)? {}
        Ok(decompressor.bytes)
    }

    #[test]
    fn a_body_is_decompressed_to_its_original_or_rejected() {
        let body: Vec<u8> = (0..10_000_u32).flat_map(|number| (number % 77).to_le_bytes()).collect();
        for encoding in Encoding::ALL {
            let compressed = Compressor::new(encoding).unwrap().finish(&body).unwrap().to_vec();
            assert_eq!(decompressed(encoding, compressed.clone()).unwrap(), body);
            for end in 0..compressed.len() {
                let refused = decompressed(encoding, compressed[..end].to_vec());
                assert!(refused.is_err(), "{encoding:?} cut to {end} of {}", compressed.len());
            }
            let mut longer = compressed;
            longer.push(b'x');
            assert!(decompressed(encoding, longer).is_err(), "{encoding:?} with data after it");
        }
        assert_eq!(
            decompressed(Encoding::Gzip, Vec::new()).unwrap_err().detail(),
            "the body is not gzip: it ends too soon"
        );
    }

    #[test]
    fn a_window_larger_than_every_decoder_supports_is_rejected() {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(WINDOW_LOG_MAX + 1).unwrap();
        encoder.write_all(&vec![7; 100_000]).unwrap();
        let compressed = encoder.finish().unwrap();
        assert_eq!(Encoding::Zstd.window_bytes(&compressed), 1 << WINDOW_LOG_MAX);
        assert!(decompressed(Encoding::Zstd, compressed).is_err());
    }
}
