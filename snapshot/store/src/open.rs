//! From a URL to a store.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
#[cfg(any(feature = "s3", feature = "azure", feature = "gcs"))]
use std::time::Duration;

use object_store::local::LocalFileSystem;
use object_store::path::Path as ObjectPath;
use url::Url;

use crate::folder::Folder;
use crate::store::Store;

/// How long one request to a bucket may take, its body included.
#[cfg(any(feature = "s3", feature = "azure", feature = "gcs"))]
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// How long connecting to a bucket may take.
#[cfg(any(feature = "s3", feature = "azure", feature = "gcs"))]
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a request is tried again before the caller, who polls anyway, hears of the failure.
#[cfg(any(feature = "s3", feature = "azure", feature = "gcs"))]
const RETRIES_MAX: usize = 2;

/// Where a store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreUrl {
    /// A local folder, as an absolute path.
    Folder(PathBuf),
    /// `s3://bucket/prefix`
    S3(Url),
    /// `az://container/prefix`
    Azure(Url),
    /// `gs://bucket/prefix`
    Gcs(Url),
}

/// Why a store can't be named or reached by a URL.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Not a path and not a URL of a known scheme.
    #[error("{0:?} is no store: expected a folder, file://, s3://BUCKET, az://CONTAINER or gs://BUCKET")]
    Unknown(String),
    /// The folder's path can't be used.
    #[error(
        "the folder {0:?} can't be used as a store: its path has to be valid UTF-8 without `.` and `..` parts"
    )]
    Folder(PathBuf),
    /// No bucket or container in the URL.
    #[error("{0} names no bucket; expected for example s3://bucket/prefix")]
    NoBucket(Url),
    /// More than a place. It isn't repeated: it may be a secret.
    #[error(
        "a store's URL names its place alone, but this one of {0}:// has a user, a password or a query; credentials come from the \
         environment (AWS_*, AZURE_*, GOOGLE_*)"
    )]
    MoreThanAPlace(String),
    /// This build can't reach that kind of store.
    #[error("this build has no support for {0}; it needs the Cargo feature {1:?}")]
    Disabled(Url, &'static str),
    /// The client of the bucket refused its settings.
    #[error("the client for {url} can't be set up; check its environment variables")]
    Client {
        /// The store.
        url: Url,
        /// Why.
        #[source]
        source: Box<object_store::Error>,
    },
}

impl FromStr for StoreUrl {
    type Err = OpenError;

    fn from_str(text: &str) -> Result<Self, OpenError> {
        let unknown = || OpenError::Unknown(text.to_owned());
        if text.is_empty() {
            return Err(unknown());
        }
        if !text.contains("://") {
            let path = std::path::absolute(text).map_err(|_| unknown())?;
            return Ok(Self::Folder(path));
        }
        let url = Url::parse(text).map_err(|_| unknown())?;
        let store = match url.scheme() {
            "file" => return url.to_file_path().map(Self::Folder).map_err(|()| unknown()),
            "s3" => Self::S3,
            "az" => Self::Azure,
            "gs" => Self::Gcs,
            _ => return Err(unknown()),
        };
        let is_bare = url.username().is_empty() && url.password().is_none() && url.query().is_none();
        if !is_bare {
            return Err(OpenError::MoreThanAPlace(url.scheme().to_owned()));
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err(OpenError::NoBucket(url));
        }
        Ok(store(url))
    }
}

impl std::fmt::Display for StoreUrl {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Folder(path) => write!(formatter, "{}", path.display()),
            Self::S3(url) | Self::Azure(url) | Self::Gcs(url) => write!(formatter, "{url}"),
        }
    }
}

impl Store {
    /// Opens a store, with credentials and endpoints from the usual environment variables (`AWS_*`, `AZURE_*`,
    /// `GOOGLE_*`). Nothing is read or created yet.
    pub fn open(url: &str) -> Result<Self, OpenError> {
        let text = |os: std::ffi::OsString| os.into_string().ok();
        let variables = std::env::vars_os().filter_map(|(name, value)| Some((text(name)?, text(value)?)));
        Self::open_with(url, variables)
    }

    /// Opens a store with `variables` in place of the environment.
    pub fn open_with(
        url: &str,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, OpenError> {
        match url.parse()? {
            StoreUrl::Folder(path) => folder(&path),
            StoreUrl::S3(url) => s3(url, variables),
            StoreUrl::Azure(url) => azure(url, variables),
            StoreUrl::Gcs(url) => gcs(url, variables),
        }
    }
}

fn folder(path: &Path) -> Result<Store, OpenError> {
    let refused = || OpenError::Folder(path.to_owned());
    let root = ObjectPath::from_absolute_path(path).map_err(|_| refused())?;
    let durable = Arc::new(LocalFileSystem::new().with_fsync(true));
    let volatile = Arc::new(LocalFileSystem::new());
    Ok(Store::on_folder(Folder::new(path.to_owned()), root, durable, volatile))
}

#[cfg(any(feature = "s3", feature = "azure", feature = "gcs"))]
fn prefix(url: &Url) -> Result<ObjectPath, OpenError> {
    ObjectPath::from_url_path(url.path())
        .map_err(|source| OpenError::Client { url: url.clone(), source: Box::new(source.into()) })
}

#[cfg(any(feature = "s3", feature = "azure", feature = "gcs"))]
fn retries() -> object_store::RetryConfig {
    object_store::RetryConfig {
        max_retries: RETRIES_MAX,
        retry_timeout: REQUEST_TIMEOUT,
        ..object_store::RetryConfig::default()
    }
}

/// Builds the client of one kind of bucket: its settings from the variables with a prefix, the rest the same for all.
macro_rules! bucket {
    ($open:ident, $feature:literal, $variables:literal, $builder:path, $name:ident) => {
        #[cfg(feature = $feature)]
        fn $open(
            url: Url,
            variables: impl IntoIterator<Item = (String, String)>,
        ) -> Result<Store, OpenError> {
            use $builder as Builder;
            let options = object_store::ClientOptions::new()
                .with_timeout(REQUEST_TIMEOUT)
                .with_connect_timeout(CONNECT_TIMEOUT);
            let mut builder = Builder::new().with_client_options(options).with_retry(retries());
            for (name, value) in variables {
                if !name.starts_with($variables) {
                    continue;
                }
                if let Ok(key) = name.to_ascii_lowercase().parse() {
                    builder = builder.with_config(key, value);
                }
            }
            let bucket = url.host_str().unwrap_or_default();
            let root = prefix(&url)?;
            let client = builder
                .$name(bucket)
                .build()
                .map_err(|source| OpenError::Client { url: url.clone(), source: Box::new(source) })?;
            Ok(Store::on_bucket(url.to_string(), root, Arc::new(client)))
        }

        #[cfg(not(feature = $feature))]
        fn $open(
            url: Url,
            _variables: impl IntoIterator<Item = (String, String)>,
        ) -> Result<Store, OpenError> {
            Err(OpenError::Disabled(url, $feature))
        }
    };
}

bucket!(s3, "s3", "AWS_", object_store::aws::AmazonS3Builder, with_bucket_name);
bucket!(azure, "azure", "AZURE_", object_store::azure::MicrosoftAzureBuilder, with_container_name);
bucket!(gcs, "gcs", "GOOGLE_", object_store::gcp::GoogleCloudStorageBuilder, with_bucket_name);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_urls_name_stores() {
        let folder = |text: &str| match text.parse() {
            Ok(StoreUrl::Folder(path)) => path,
            other => panic!("{text}: {other:?}"),
        };
        assert_eq!(folder("/var/lib/mesh"), Path::new("/var/lib/mesh"));
        assert_eq!(folder("file:///var/lib/my%20mesh"), Path::new("/var/lib/my mesh"));
        assert!(folder("mesh").is_absolute());
        assert!(matches!("s3://bucket/mesh".parse(), Ok(StoreUrl::S3(_))));
        assert!(matches!("az://container".parse(), Ok(StoreUrl::Azure(_))));
        assert!(matches!("gs://bucket/a/b".parse(), Ok(StoreUrl::Gcs(_))));
    }

    #[test]
    fn what_names_no_store_is_refused() {
        for text in ["", "ftp://host/path", "://", "memory://"] {
            assert!(matches!(text.parse::<StoreUrl>(), Err(OpenError::Unknown(_))), "{text}");
        }
        assert!(matches!("s3:///prefix".parse::<StoreUrl>(), Err(OpenError::NoBucket(_))));
        for text in ["s3://KEY:SECRET@bucket/mesh", "s3://KEY@bucket", "az://container?sig=SECRET"] {
            let refused = text.parse::<StoreUrl>().unwrap_err();
            assert!(matches!(refused, OpenError::MoreThanAPlace(_)), "{text}");
            assert!(!refused.to_string().contains("SECRET"), "{refused}");
        }
    }
}
