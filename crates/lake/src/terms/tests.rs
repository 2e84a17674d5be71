use super::tokens::{Edges, needle_words, whole};
use super::*;
use arrow::array::{ArrayRef, DictionaryArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Int32Type, Schema};
use proptest::prelude::*;
use std::sync::Arc;

const CLOSED: Edges = Edges { start: true, end: true };

/// Writes an index of one column and opens it.
fn index_of(folder: &Path, column: &str, texts: &[Option<String>], dictionary: bool) -> TermIndex {
    let schema = Schema::new(vec![Field::new(column, DataType::Utf8, true)]);
    let mut writer = IndexWriter::new(&schema);
    // Batches that do not fit the blocks.
    for part in texts.chunks(5_000) {
        let plain: StringArray = part.iter().map(Option::as_deref).collect();
        let array: ArrayRef =
            if dictionary { Arc::new(plain.iter().collect::<DictionaryArray<Int32Type>>()) } else { Arc::new(plain) };
        writer.add(&RecordBatch::try_from_iter([(column, array)]).unwrap());
    }
    let parquet = folder.join("part.parquet");
    assert!(writer.finish(&index_path(&parquet), 77, None).unwrap());
    TermIndex::open(&parquet, 77, texts.len() as u64, None).unwrap()
}

/// What `has` means, told in the plainest way.
fn has(text: &str, needle: &str) -> bool {
    let fold = |text: &str| if needle.is_ascii() { text.to_ascii_lowercase() } else { text.to_lowercase() };
    let (text, needle) = (fold(text), fold(needle));
    let letter = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    text.match_indices(&needle).any(|(at, found)| {
        let before = text.get(..at).and_then(|t| t.chars().next_back());
        let after = text.get(at + found.len()..).and_then(|t| t.chars().next());
        let free_before = !letter(before) || !letter(needle.chars().next());
        let free_after = !letter(after) || !letter(needle.chars().next_back());
        free_before && free_after
    })
}

/// Blocks that the index leaves for a needle.
fn left(index: &TermIndex, column: &str, needle: &str, edges: Edges) -> Blocks {
    let mut blocks = Blocks::all(index.blocks());
    for word in needle_words(needle, edges) {
        if let Some(found) = index.blocks_of(column, word) {
            blocks = blocks.and(&found);
        }
    }
    blocks
}

fn letters() -> impl Strategy<Value = String> {
    proptest::string::string_regex("[a-cA-C0-1ſKéßΣςİŉΐ_/. -]{0,12}").unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_block_with_a_match_is_ruled_out(
        texts in proptest::collection::vec(letters(), 1..60),
        needles in proptest::collection::vec(letters(), 1..20),
        dictionary in any::<bool>(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        // Rows far apart, so that they fall into several blocks.
        let rows: Vec<Option<String>> = texts.iter().flat_map(|text| {
            std::iter::once(Some(text.clone())).chain(std::iter::repeat_n(None, 1_500))
        }).collect();
        let index = index_of(folder.path(), "ProcessCommandLine", &rows, dictionary);
        for needle in &needles {
            let for_has = left(&index, "ProcessCommandLine", needle, CLOSED);
            let for_contains = left(&index, "ProcessCommandLine", needle, Edges { start: false, end: false });
            for (row, text) in rows.iter().enumerate() {
                let Some(text) = text else { continue };
                if has(text, needle) {
                    prop_assert!(for_has.has(row / BLOCK_ROWS), "{text:?} has {needle:?}");
                }
                if text.to_lowercase().contains(&needle.to_lowercase()) {
                    prop_assert!(for_contains.has(row / BLOCK_ROWS), "{text:?} contains {needle:?}");
                }
            }
        }
    }

    #[test]
    fn damage_is_noticed_or_harmless(at in any::<prop::sample::Index>(), bit in 0_u8..8) {
        let folder = tempfile::tempdir().unwrap();
        let rows: Vec<Option<String>> = (0..20_000).map(|row| Some(format!("run job{} part", row / 7))).collect();
        drop(index_of(folder.path(), "ProcessCommandLine", &rows, false));
        let parquet = folder.path().join("part.parquet");
        let path = index_path(&parquet);
        let mut bytes = std::fs::read(&path).unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        std::fs::write(&path, &bytes).unwrap();
        if let Some(index) = TermIndex::open(&parquet, 77, rows.len() as u64, None) {
            for row in (0..rows.len()).step_by(997) {
                let blocks = left(&index, "ProcessCommandLine", &format!("job{}", row / 7), CLOSED);
                prop_assert!(blocks.has(row / BLOCK_ROWS));
            }
        }
    }
}

#[test]
fn a_rare_word_leaves_its_block_and_an_unknown_one_leaves_none() {
    let folder = tempfile::tempdir().unwrap();
    let rows: Vec<Option<String>> = (0..100_000)
        .map(|row| Some(if row == 70_001 { "curl evil.example/x".into() } else { format!("ls -l /srv/{row}") }))
        .collect();
    let index = index_of(folder.path(), "ProcessCommandLine", &rows, false);
    let chosen = |needle: &str| left(&index, "ProcessCommandLine", needle, CLOSED);
    assert!(chosen("EVIL.example").has(70_001 / BLOCK_ROWS));
    assert_eq!(chosen("EVIL.example").chosen(), 1);
    assert!(chosen("neverseen").chosen() <= 1, "a mark may be shared by chance");
    assert_eq!(chosen("srv").chosen(), index.blocks(), "standing everywhere");
    assert_eq!(chosen("ls").chosen(), index.blocks(), "too short to be indexed");
    let runs = chosen("evil").runs(rows.len());
    assert_eq!(runs, [(8 * BLOCK_ROWS, false), (BLOCK_ROWS, true), (100_000 - 9 * BLOCK_ROWS, false)]);
}

#[test]
fn whole_values_are_found_in_any_case() {
    let folder = tempfile::tempdir().unwrap();
    let rows: Vec<Option<String>> = (0..30_000).map(|row| Some(format!("10.0.{}.{}", row / 256, row % 256))).collect();
    let index = index_of(folder.path(), "RemoteIP", &rows, true);
    assert_eq!(index.cut("RemoteIP"), Some(Cut::Whole));
    assert_eq!(index.cut("FileName"), None);
    assert_eq!(index.blocks_of("RemoteIP", whole("10.0.5.6")).unwrap().chosen(), 1);
    assert_eq!(whole("ABCſ"), whole("abcS"));
}

#[test]
fn an_index_of_another_file_is_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    drop(index_of(folder.path(), "FileName", &[Some("bash".to_owned())], false));
    let parquet = folder.path().join("part.parquet");
    assert!(TermIndex::open(&parquet, 77, 1, None).is_some());
    assert!(TermIndex::open(&parquet, 78, 1, None).is_none());
    assert!(TermIndex::open(&parquet, 77, 2, None).is_none());
    assert!(TermIndex::open(&folder.path().join("other.parquet"), 77, 1, None).is_none());
}
