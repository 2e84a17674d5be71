//! A place on an object store that a lake is copied to and read from.
//!
//! Only S3 and what speaks its protocol is opened by address; tests use a store in memory.

use crate::error::LakeError;
use object_store::ObjectStore;
use object_store::aws::AmazonS3Builder;
use object_store::path::Path;
use std::net::IpAddr;
use std::sync::Arc;
use url::Url;

/// Where a copy of the lake lies, and the keys to it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct BucketConfig {
    /// `s3://bucket` or `s3://bucket/prefix`.
    pub url: String,
    /// Address of the endpoint where it is not AWS: `https://host:port`; plain `http` only to loopback.
    pub endpoint: Option<String>,
    /// Region; many endpoints take any.
    pub region: Option<String>,
    /// Key; the usual `AWS_…` variables of the environment where it is left out.
    pub access_key_id: Option<String>,
    /// Its secret.
    pub secret_access_key: Option<String>,
}

impl std::fmt::Debug for BucketConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The secret stays out of logs.
        f.debug_struct("BucketConfig").field("url", &self.url).field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl BucketConfig {
    /// Says what is wrong with the settings, without asking the network.
    pub fn check(&self) -> Result<(), LakeError> {
        self.parts().map(drop)
    }

    /// The store's own address, and the prefix below it.
    fn parts(&self) -> Result<(Url, Path), LakeError> {
        let bad = |reason: String| LakeError::BadBucket { reason };
        let url = Url::parse(&self.url).map_err(|e| bad(format!("`{}` is no address: {e}", self.url)))?;
        let Some(bucket) = url.host_str().filter(|_| url.scheme() == "s3") else {
            return Err(bad(format!("`{}` is not of the form `s3://bucket/prefix`", self.url)));
        };
        let prefix = Path::from_url_path(url.path()).map_err(|e| bad(format!("`{}`: {e}", self.url)))?;
        if let Some(endpoint) = &self.endpoint {
            let parsed = Url::parse(endpoint).map_err(|e| bad(format!("`{endpoint}` is no address: {e}")))?;
            let encrypted = parsed.scheme() == "https";
            let loopback = parsed.scheme() == "http" && is_loopback(&parsed);
            if !encrypted && !loopback {
                return Err(bad(format!("`{endpoint}` is not `https`; plain `http` is allowed to loopback only")));
            }
        }
        if self.access_key_id.is_some() != self.secret_access_key.is_some() {
            return Err(bad("the key and its secret go together".to_owned()));
        }
        let store = Url::parse(&format!("s3://{bucket}/")).map_err(|e| bad(format!("`{}`: {e}", self.url)))?;
        Ok((store, prefix))
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => IpAddr::from(address).is_loopback(),
        Some(url::Host::Ipv6(address)) => IpAddr::from(address).is_loopback(),
        None => false,
    }
}

/// A place on an open object store. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Bucket {
    store: Arc<dyn ObjectStore>,
    url: Url,
    prefix: Path,
}

impl Bucket {
    /// Opens the store of these settings. Nothing is asked yet: a wrong key shows at the first use.
    pub fn open(config: &BucketConfig) -> Result<Self, LakeError> {
        let (url, prefix) = config.parts()?;
        let mut builder = AmazonS3Builder::from_env().with_url(url.as_str());
        if let Some(endpoint) = &config.endpoint {
            // Checked above: plain text stays on this machine.
            builder = builder.with_endpoint(endpoint).with_allow_http(true);
        }
        if let Some(region) = &config.region {
            builder = builder.with_region(region);
        }
        if let (Some(key), Some(secret)) = (&config.access_key_id, &config.secret_access_key) {
            builder = builder.with_access_key_id(key).with_secret_access_key(secret);
        }
        let store =
            builder.build().map_err(|source| LakeError::Bucket { step: "open", object: config.url.clone(), source })?;
        Ok(Self { store: Arc::new(store), url, prefix })
    }

    /// A store that is open already, known to queries by `url` (scheme and host), from `prefix` on.
    #[must_use]
    pub fn of(store: Arc<dyn ObjectStore>, url: Url, prefix: Path) -> Self {
        Self { store, url, prefix }
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.store)
    }

    /// Its address, scheme and host: what scans name it by.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Where this place begins.
    #[must_use]
    pub fn prefix(&self) -> &Path {
        &self.prefix
    }

    /// A place below.
    #[must_use]
    pub fn below(&self, name: &str) -> Self {
        Self { store: Arc::clone(&self.store), url: self.url.clone(), prefix: self.prefix.clone().join(name) }
    }

    /// An object's path; `relative` has slashes where it has folders.
    pub(crate) fn path(&self, relative: &str) -> Result<Path, LakeError> {
        // Parsed, not encoded: names are kept as the log spells them.
        Path::parse(format!("{}/{relative}", self.prefix).trim_start_matches('/'))
            .map_err(|error| LakeError::BadBucket { reason: error.to_string() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_that_keep_keys_and_rows_private_are_used() {
        let config = |url: &str, endpoint: Option<&str>| BucketConfig {
            url: url.to_owned(),
            endpoint: endpoint.map(str::to_owned),
            ..BucketConfig::default()
        };
        for (url, endpoint, fits) in [
            ("s3://bucket", None, true),
            ("s3://bucket/a/b", Some("https://store.example"), true),
            ("s3://bucket", Some("http://127.0.0.1:9000"), true),
            ("s3://bucket", Some("http://[::1]:9000"), true),
            ("s3://bucket", Some("http://store.example"), false),
            ("s3://bucket", Some("http://127.0.0.1.example"), false),
            ("s3://bucket", Some("store"), false),
            ("file:///lake", None, false),
            ("bucket", None, false),
        ] {
            assert_eq!(config(url, endpoint).check().is_ok(), fits, "{url} {endpoint:?}");
        }
        let half = BucketConfig { access_key_id: Some("k".to_owned()), ..config("s3://bucket", None) };
        assert!(half.check().is_err());
    }

    #[test]
    fn a_secret_is_not_shown() {
        let config = BucketConfig {
            url: "s3://b".to_owned(),
            access_key_id: Some("key".to_owned()),
            secret_access_key: Some("hush".to_owned()),
            ..BucketConfig::default()
        };
        assert!(!format!("{config:?}").contains("hush"));
    }
}
