//! A lake's copy on an object store: what its readers see, and who may write there.

use crate::fixture::{TABLE, batch, config, open, wait};
use futures::TryStreamExt as _;
use garrison_lake::provider::{LakeTableProvider, session_config};
use garrison_lake::{Bucket, Lake, LakeError, Mirror, RemoteLake};
use garrison_model::Micros;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore as _, ObjectStoreExt as _};
use std::sync::Arc;

/// The batches' day, some time after them.
const NOW: Micros = Micros(1_795_435_200_000_000 + 3_600_000_000);
const DAY: i64 = 86_400_000_000;

fn bucket() -> Bucket {
    Bucket::of(Arc::new(InMemory::new()), url::Url::parse("s3://lake/").unwrap(), Path::from("some/place"))
}

fn reader(bucket: &Bucket) -> RemoteLake {
    RemoteLake::new(bucket.clone(), config().tables)
}

/// Rows that a reader of the copy counts.
async fn count(bucket: &Bucket, lake: &RemoteLake) -> usize {
    let session = datafusion::prelude::SessionContext::new_with_config(session_config());
    session.runtime_env().register_object_store(bucket.url(), bucket.store());
    let table = LakeTableProvider::new(lake.snapshot(TABLE).unwrap(), Arc::default());
    session.read_table(Arc::new(table)).unwrap().count().await.unwrap()
}

async fn store(lake: &Lake, first: u64, rows: u32) {
    lake.append(batch(1, first, rows)).await.unwrap();
    lake.flush().await.unwrap();
}

async fn names(bucket: &Bucket) -> Vec<String> {
    let listed: Vec<_> = bucket.store().list(Some(bucket.prefix())).try_collect().await.unwrap();
    let mut names: Vec<String> = listed.into_iter().map(|meta| meta.location.to_string()).collect();
    names.sort();
    names
}

#[test]
fn a_reader_sees_what_was_copied_and_then_what_is_new() {
    wait(async {
        let (folder, bucket) = (tempfile::tempdir().unwrap(), bucket());
        let (lake, remote) = (open(folder.path()), reader(&bucket));
        remote.refresh().await.unwrap();
        assert_eq!((count(&bucket, &remote).await, remote.as_of()), (0, None));
        let mirror = Mirror::new(lake.clone(), bucket.clone());
        store(&lake, 1, 10).await;
        let done = mirror.sync(NOW).await.unwrap();
        assert_eq!((done.files, done.deleted), (1, 0), "{done:?}");
        remote.refresh().await.unwrap();
        assert_eq!(count(&bucket, &remote).await, 10);
        assert!(remote.as_of().is_some_and(|as_of| as_of < NOW));
        // In memory only: not there yet, and the copy says so.
        lake.append(batch(1, 11, 5)).await.unwrap();
        mirror.sync(NOW).await.unwrap();
        remote.refresh().await.unwrap();
        assert_eq!(count(&bucket, &remote).await, 10);
        assert!(remote.as_of().is_some_and(|as_of| as_of.0 < NOW.0 - 3_000_000_000), "{:?}", remote.as_of());
        lake.flush().await.unwrap();
        let done = mirror.sync(NOW).await.unwrap();
        assert_eq!((done.files, done.entries), (1, 1), "{done:?}");
        remote.refresh().await.unwrap();
        assert_eq!(count(&bucket, &remote).await, 15);
        let nothing = mirror.sync(NOW).await.unwrap();
        assert_eq!((nothing.files, nothing.entries), (0, 0), "{nothing:?}");
    });
}

#[test]
fn another_process_goes_on_where_the_last_one_stopped() {
    wait(async {
        let (folder, bucket) = (tempfile::tempdir().unwrap(), bucket());
        let lake = open(folder.path());
        store(&lake, 1, 3).await;
        Mirror::new(lake.clone(), bucket.clone()).sync(NOW).await.unwrap();
        store(&lake, 4, 3).await;
        let done = Mirror::new(lake.clone(), bucket.clone()).sync(NOW).await.unwrap();
        assert_eq!((done.files, done.entries), (1, 1), "{done:?}");
        let remote = reader(&bucket);
        remote.refresh().await.unwrap();
        assert_eq!(count(&bucket, &remote).await, 6);
    });
}

#[test]
fn a_second_lake_cannot_write_over_the_first() {
    wait(async {
        let (one, two, bucket) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), bucket());
        let (first, second) = (open(one.path()), open(two.path()));
        store(&first, 1, 3).await;
        store(&second, 1, 4).await;
        store(&second, 5, 4).await;
        let mirror = Mirror::new(first.clone(), bucket.clone());
        mirror.sync(NOW).await.unwrap();
        let refused = Mirror::new(second, bucket.clone()).sync(NOW).await;
        assert!(matches!(refused, Err(LakeError::OtherWriter { .. })), "{refused:?}");
        store(&first, 4, 3).await;
        mirror.sync(NOW).await.unwrap();
        let remote = reader(&bucket);
        remote.refresh().await.unwrap();
        assert_eq!(count(&bucket, &remote).await, 6);
    });
}

#[test]
fn what_was_merged_away_is_deleted_when_no_reader_needs_it() {
    wait(async {
        let (folder, bucket) = (tempfile::tempdir().unwrap(), bucket());
        let lake = open(folder.path());
        let mirror = Mirror::new(lake.clone(), bucket.clone());
        for part in 0..3 {
            store(&lake, part * 10 + 1, 10).await;
        }
        mirror.sync(NOW).await.unwrap();
        let old = reader(&bucket);
        old.refresh().await.unwrap();
        // The day is over, so its files become one.
        let later = Micros(NOW.0 + DAY);
        let merged = lake.maintain(later).await.unwrap();
        assert_eq!((merged.files_merged, merged.files_written), (3, 1), "{merged:?}");
        let parquet = |names: &[String]| names.iter().filter(|n| n.ends_with(".parquet")).count();
        let done = mirror.sync(Micros(later.0 + DAY)).await.unwrap();
        assert_eq!((done.files, done.deleted), (1, 3), "{done:?}");
        assert_eq!(parquet(&names(&bucket).await), 1, "{:?}", names(&bucket).await);
        let remote = reader(&bucket);
        remote.refresh().await.unwrap();
        assert_eq!(count(&bucket, &remote).await, 30);
        old.refresh().await.unwrap();
        assert_eq!(count(&bucket, &old).await, 30);
    });
}

#[test]
fn a_copy_that_is_damaged_is_an_error_and_no_panic() {
    wait(async {
        let (folder, bucket) = (tempfile::tempdir().unwrap(), bucket());
        let lake = open(folder.path());
        store(&lake, 1, 3).await;
        Mirror::new(lake, bucket.clone()).sync(NOW).await.unwrap();
        for name in names(&bucket).await.iter().filter(|n| n.split_once('.').is_some_and(|(_, end)| end == "json")) {
            bucket.store().put(&Path::from(name.as_str()), b"{broken".to_vec().into()).await.unwrap();
        }
        let remote = reader(&bucket);
        assert!(remote.refresh().await.is_err());
    });
}
