//! Record batches as bytes: an Arrow IPC stream with zstd, one batch a stream.

use arrow::array::RecordBatch;
use arrow::ipc::CompressionType;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};

/// How much a decoder takes in before it refuses.
#[derive(Debug, Clone, Copy)]
pub struct DecodeLimits {
    /// Bytes of the encoded stream: 16 MiB, four times the largest batch that our sensor makes.
    pub encoded_bytes_max: usize,
    /// Bytes in memory after decoding: 64 MiB, so that a compression bomb stops early.
    pub decoded_bytes_max: usize,
    /// Rows.
    pub rows_max: usize,
    /// Columns: twice the widest table.
    pub columns_max: usize,
}

impl Default for DecodeLimits {
    fn default() -> Self {
        Self { encoded_bytes_max: 16 << 20, decoded_bytes_max: 64 << 20, rows_max: 131_072, columns_max: 160 }
    }
}

/// The bytes are no batch, or too large a one.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Too large.
    #[error("batch has {found} {what}, at most {max} are taken")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// How much was found.
        found: usize,
        /// How much is taken.
        max: usize,
    },
    /// Not a stream of exactly one batch.
    #[error("batch stream must hold exactly one batch")]
    NotOneBatch,
    /// The Arrow reader refused it.
    #[error("batch cannot be decoded")]
    Arrow(#[source] arrow::error::ArrowError),
    /// The Arrow reader panicked on hostile bytes; it was contained.
    #[error("batch is malformed")]
    Malformed,
}

/// Encodes one batch.
pub fn encode_ipc(batch: &RecordBatch) -> Result<Vec<u8>, arrow::error::ArrowError> {
    let options = IpcWriteOptions::default().try_with_compression(Some(CompressionType::ZSTD))?;
    let mut writer = StreamWriter::try_new_with_options(Vec::with_capacity(4096), &batch.schema(), options)?;
    writer.write(batch)?;
    writer.finish()?;
    writer.into_inner()
}

/// Decodes one batch from untrusted bytes. Buffer lengths declared in the stream's headers are added up and checked
/// against the limits before anything is decompressed; the data is validated (offsets, UTF-8, dictionary keys), since
/// the reader's checks are on.
pub fn decode_ipc(bytes: &[u8], limits: &DecodeLimits) -> Result<RecordBatch, DecodeError> {
    let too_large = |what, found, max| DecodeError::TooLarge { what, found, max };
    if bytes.len() > limits.encoded_bytes_max {
        return Err(too_large("encoded bytes", bytes.len(), limits.encoded_bytes_max));
    }
    preflight(bytes, limits)?;
    // The reader is a library fed with hostile bytes: a panic inside it must not take the process along.
    let decoded = std::panic::catch_unwind(|| -> Result<RecordBatch, DecodeError> {
        let mut reader = StreamReader::try_new(std::io::Cursor::new(bytes), None).map_err(DecodeError::Arrow)?;
        let columns = reader.schema().fields().len();
        if columns > limits.columns_max {
            return Err(too_large("columns", columns, limits.columns_max));
        }
        let batch = reader.next().ok_or(DecodeError::NotOneBatch)?.map_err(DecodeError::Arrow)?;
        if reader.next().is_some() {
            return Err(DecodeError::NotOneBatch);
        }
        Ok(batch)
    });
    let batch = decoded.map_err(|_| DecodeError::Malformed)??;
    if batch.num_rows() > limits.rows_max {
        return Err(too_large("rows", batch.num_rows(), limits.rows_max));
    }
    let size = batch.get_array_memory_size();
    if size > limits.decoded_bytes_max {
        return Err(too_large("decoded bytes", size, limits.decoded_bytes_max));
    }
    Ok(batch)
}

/// Walks the stream's messages without decoding bodies: the number of messages (schema, dictionaries, one batch), the
/// rows and the uncompressed lengths must be within the limits.
fn preflight(bytes: &[u8], limits: &DecodeLimits) -> Result<(), DecodeError> {
    let mut rest = bytes;
    let mut uncompressed = 0_u64;
    let mut messages = 0_usize;
    while let Some((meta_bytes, after)) = next_message(rest)? {
        messages += 1;
        if messages > limits.columns_max * 2 + 2 {
            return Err(DecodeError::TooLarge { what: "messages", found: messages, max: limits.columns_max * 2 + 2 });
        }
        let message = arrow::ipc::root_as_message(meta_bytes).map_err(|_| DecodeError::Malformed)?;
        let body_len = usize::try_from(message.bodyLength()).map_err(|_| DecodeError::Malformed)?;
        if body_len > after.len() {
            return Err(DecodeError::Malformed);
        }
        let body = &after[..body_len];
        let record = match message.header_type() {
            arrow::ipc::MessageHeader::RecordBatch => message.header_as_record_batch(),
            arrow::ipc::MessageHeader::DictionaryBatch => message.header_as_dictionary_batch().and_then(|d| d.data()),
            _ => None,
        };
        if let Some(record) = record {
            let rows = usize::try_from(record.length()).map_err(|_| DecodeError::Malformed)?;
            if rows > limits.rows_max {
                return Err(DecodeError::TooLarge { what: "rows", found: rows, max: limits.rows_max });
            }
            for buffer in record.buffers().into_iter().flatten() {
                let (start, len) = (buffer.offset(), buffer.length());
                let (Ok(start), Ok(len)) = (usize::try_from(start), usize::try_from(len)) else {
                    return Err(DecodeError::Malformed);
                };
                let end = start.checked_add(len).ok_or(DecodeError::Malformed)?;
                let data = body.get(start..end).ok_or(DecodeError::Malformed)?;
                // A compressed buffer starts with its length uncompressed, 8 bytes; -1 means stored as it is.
                uncompressed += if record.compression().is_some() && len >= 8 {
                    let declared = i64::from_le_bytes(data[..8].try_into().map_err(|_| DecodeError::Malformed)?);
                    if declared == -1 {
                        len as u64
                    } else {
                        u64::try_from(declared).map_err(|_| DecodeError::Malformed)?
                    }
                } else {
                    len as u64
                };
            }
            if uncompressed > limits.decoded_bytes_max as u64 {
                return Err(DecodeError::TooLarge {
                    what: "decoded bytes",
                    found: usize::try_from(uncompressed).unwrap_or(usize::MAX),
                    max: limits.decoded_bytes_max,
                });
            }
        }
        rest = &after[body_len..];
    }
    Ok(())
}

/// The metadata of a message and what follows it.
type Split<'a> = (&'a [u8], &'a [u8]);

/// Splits off the next message; `None` at the end of the stream.
fn next_message(bytes: &[u8]) -> Result<Option<Split<'_>>, DecodeError> {
    let word = |at: usize| -> Option<u32> { Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?)) };
    let Some(first) = word(0) else {
        return if bytes.is_empty() { Ok(None) } else { Err(DecodeError::Malformed) };
    };
    let (len, start) = if first == u32::MAX { (word(4).ok_or(DecodeError::Malformed)?, 8) } else { (first, 4) };
    if len == 0 {
        return Ok(None);
    }
    let end = start + len as usize;
    let meta = bytes.get(start..end).ok_or(DecodeError::Malformed)?;
    Ok(Some((meta, &bytes[end..])))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch_from_json;
    use proptest::prelude::*;
    use serde_json::json;

    fn sample() -> RecordBatch {
        let rows: Vec<_> =
            (0..50).map(|i| json!({"ActionType": "ProcessCreated", "ProcessId": i, "FileName": "sh"})).collect();
        batch_from_json("DeviceProcessEvents", &rows).unwrap()
    }

    #[test]
    fn a_batch_reads_back() {
        let batch = sample();
        let bytes = encode_ipc(&batch).unwrap();
        assert_eq!(decode_ipc(&bytes, &DecodeLimits::default()).unwrap(), batch);
    }

    #[test]
    fn too_large_a_batch_is_refused_before_it_is_unpacked() {
        let bytes = encode_ipc(&sample()).unwrap();
        let limits = DecodeLimits { decoded_bytes_max: 64, ..DecodeLimits::default() };
        assert!(matches!(decode_ipc(&bytes, &limits), Err(DecodeError::TooLarge { .. })));
        let limits = DecodeLimits { rows_max: 10, ..DecodeLimits::default() };
        assert!(matches!(decode_ipc(&bytes, &limits), Err(DecodeError::TooLarge { what: "rows", .. })));
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            let _ = decode_ipc(&bytes, &DecodeLimits::default());
        }

        #[test]
        fn flipped_bytes_never_panic(at in 0_usize..4000, bit in 0_u8..8) {
            let mut bytes = encode_ipc(&sample()).unwrap();
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            let _ = decode_ipc(&bytes, &DecodeLimits::default());
        }
    }
}
