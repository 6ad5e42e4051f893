//! Who may ask: everybody, those who know a token, or those whom the Kubernetes API server allows.
//!
//! Start at [`guard`], which checks requests before a router gets them: first by which name and by which page they ask
//! (`hosts`), then who asks. /livez, /readyz and /metrics are open to all: probes and scrapers have no credentials, and
//! the answers name no resource. What cannot be found out is refused, never allowed.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, Method, header};
use axum::middleware::{self, Next};
use axum::response::IntoResponse;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use k8s_openapi::api::authorization::v1::{NonResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::api::PostParams;
use kube::{Api, Client};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;
use tracing::warn;

use super::problem::Problem;
use crate::hosts::Hosts;

/// Paths that nobody has to prove anything for.
const OPEN: [&str; 3] = ["/livez", "/readyz", "/metrics"];

/// A token file is read again this often: a mounted Secret is replaced while the engine runs.
const TOKEN_FILE_PERIOD: Duration = Duration::from_secs(5);

/// How long the API server may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a verdict holds. A token that was withdrawn is good for so long.
const VERDICT_PERIOD: Duration = Duration::from_secs(30);

/// Verdicts that are kept: a stranger who tries tokens cannot fill the memory.
const VERDICTS_MAX: usize = 4_096;

/// How long a body may take, and how large it may be: the longest order names 64 records.
const BODY_PATIENCE: Duration = Duration::from_secs(10);
const BODY_BYTES_MAX: usize = 64 << 10;

/// The same where the body holds rules.
const RULES_BYTES_MAX: usize = 8 << 20;

/// Questions to the API server at once: a stranger who tries tokens cannot make it busy.
const QUESTIONS_MAX: usize = 16;

/// Who may ask.
pub enum Access {
    /// Everybody who can connect.
    Anybody,
    /// Those who know the token.
    Token(TokenFile),
    /// Those whom the Kubernetes API server knows by their token, and lets `get` the path, or `post` to it.
    Kubernetes(Box<Reviews>),
}

/// Who asks, as far as that is known: the name that was authenticated, or `anybody`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asker(pub String);

impl Asker {
    /// Where nobody has to say who it is.
    #[must_use]
    pub fn anybody() -> Asker {
        Asker("anybody".to_owned())
    }
}

/// Keeps a browser from showing an answer in a page of another site, also one that sends none of the headers that
/// `hosts` looks at.
const FOR_BROWSERS: [(HeaderName, HeaderValue); 2] = [
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
];

/// Puts a guard before a router, which says behind it who asks.
pub fn guard(router: Router, hosts: Hosts, access: Arc<Access>) -> Router {
    let shared = Arc::new((hosts, access));
    router.layer(middleware::from_fn(move |request: Request, next: Next| {
        let shared = shared.clone();
        async move {
            let (hosts, access) = &*shared;
            let (mut parts, body) = request.into_parts();
            let mut response = match admit(hosts, access, &parts).await {
                Ok(asker) => {
                    parts.extensions.insert(asker);
                    match whole(&parts.method, parts.uri.path(), body).await {
                        Ok(body) => next.run(Request::from_parts(parts, body)).await,
                        Err(problem) => problem.into_response(),
                    }
                }
                Err(problem) => problem.into_response(),
            };
            response.headers_mut().extend(FOR_BROWSERS);
            response
        }
    }))
}

/// The body, once all of it came: one that is never sent holds nothing. Questions have none that is looked at.
async fn whole(method: &Method, path: &str, body: Body) -> Result<Body, Problem> {
    if matches!(*method, Method::GET | Method::HEAD) {
        return Ok(body);
    }
    let bytes_max = if path == super::plan::PATH { RULES_BYTES_MAX } else { BODY_BYTES_MAX };
    match tokio::time::timeout(BODY_PATIENCE, to_bytes(body, bytes_max)).await {
        Ok(Ok(bytes)) => Ok(Body::from(bytes)),
        Ok(Err(_)) => Err(Problem::large_body(bytes_max)),
        Err(_) => Err(Problem::slow_body()),
    }
}

async fn admit(hosts: &Hosts, access: &Access, asked: &Parts) -> Result<Asker, Problem> {
    let (path, headers) = (asked.uri.path(), &asked.headers);
    hosts.check(asked.version, &asked.uri, headers, access.wants_proof(path))?;
    let shown = headers.get_all(header::AUTHORIZATION).iter().map(HeaderValue::as_bytes);
    access.check(&asked.method, path, shown).await
}

impl Access {
    /// Whether callers have to prove who they are for this path.
    #[must_use]
    pub fn wants_proof(&self, path: &str) -> bool {
        !matches!(self, Access::Anybody) && !OPEN.contains(&path)
    }

    /// Who asks for this path by this method, and shows these values of `Authorization`.
    ///
    /// # Errors
    /// Why not.
    pub async fn check<'a>(
        &self,
        method: &Method,
        path: &str,
        shown: impl Iterator<Item = &'a [u8]>,
    ) -> Result<Asker, Problem> {
        if !self.wants_proof(path) {
            return Ok(Asker::anybody());
        }
        let token = bearer(shown)?;
        match self {
            Access::Anybody => Ok(Asker::anybody()),
            Access::Token(file) => file.check(token).map(|()| Asker("who knows the token".to_owned())),
            Access::Kubernetes(reviews) => reviews.check(token, verb(method), path).await,
        }
    }
}

/// What the API server calls a method on a path that is no resource. Reading is one verb.
fn verb(method: &Method) -> &'static str {
    match *method {
        Method::GET | Method::HEAD => "get",
        _ => "post",
    }
}

/// The token of `Authorization: Bearer TOKEN`.
fn bearer<'a>(mut shown: impl Iterator<Item = &'a [u8]>) -> Result<&'a str, Problem> {
    let missing = "a bearer token is required\nhint: send the header `Authorization: Bearer TOKEN`";
    let (Some(value), None) = (shown.next(), shown.next()) else { return Err(Problem::unauthenticated(missing)) };
    let text = std::str::from_utf8(value)
        .ok()
        .filter(|text| text.bytes().all(|byte| byte == b'\t' || (b' '..0x7f).contains(&byte)));
    let (scheme, token) = text.and_then(|text| text.split_once(' ')).unwrap_or_default();
    let token = token.trim();
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() {
        return Err(Problem::unauthenticated(missing));
    }
    Ok(token)
}

/// A token in a file, read again when the file may have changed.
pub struct TokenFile {
    path: PathBuf,
    read: Mutex<(Instant, Vec<u8>)>,
}

impl TokenFile {
    /// Reads the token in a file, without blanks around it.
    ///
    /// # Errors
    /// When it cannot be read, or holds none.
    pub fn open(path: PathBuf) -> std::io::Result<TokenFile> {
        let token = read_token(&path)?;
        Ok(TokenFile { path, read: Mutex::new((Instant::now(), token)) })
    }

    fn check(&self, token: &str) -> Result<(), Problem> {
        let mut read = self.read.lock();
        if read.0.elapsed() >= TOKEN_FILE_PERIOD {
            read.0 = Instant::now();
            match read_token(&self.path) {
                Ok(token) => read.1 = token,
                Err(error) => warn!("token file `{}`: {error}; the token known so far holds", self.path.display()),
            }
        }
        // In constant time, or how long a refusal takes would show how much of a guess is right.
        if bool::from(read.1.ct_eq(token.as_bytes())) {
            return Ok(());
        }
        Err(Problem::unauthenticated("the bearer token is wrong"))
    }
}

fn read_token(path: &PathBuf) -> std::io::Result<Vec<u8>> {
    let text = std::fs::read(path)?;
    let token = text.trim_ascii();
    if token.is_empty() {
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, "it holds no token"));
    }
    Ok(token.to_vec())
}

/// What the API server says of tokens and paths, kept for a while.
pub struct Reviews {
    client: Client,
    questions: Semaphore,
    verdicts: Mutex<HashMap<Asked, Verdict>>,
}

/// Who asked for what: the checksum of a token, of a path, and a verb.
type Asked = ([u8; 32], [u8; 32], &'static str);

/// What was found out, and when.
type Verdict = (Instant, Result<Asker, Problem>);

impl Reviews {
    /// Asks with this client, whose user may create TokenReviews and SubjectAccessReviews.
    #[must_use]
    pub fn new(client: Client) -> Reviews {
        Reviews { client, questions: Semaphore::new(QUESTIONS_MAX), verdicts: Mutex::default() }
    }

    async fn check(&self, token: &str, verb: &'static str, path: &str) -> Result<Asker, Problem> {
        // Kept by checksum: what lies in memory is of no use to a reader of it, and small whatever was asked for.
        let key = (Sha256::digest(token).into(), Sha256::digest(path).into(), verb);
        if let Some((since, verdict)) = self.verdicts.lock().get(&key)
            && since.elapsed() < VERDICT_PERIOD
        {
            return verdict.clone();
        }
        let asked = async {
            let _turn = self.questions.acquire().await;
            self.ask(token, verb, path).await
        };
        let verdict = match tokio::time::timeout(PATIENCE, asked).await {
            Ok(Ok(verdict)) => verdict,
            // What is not known is not kept: the next one asks again.
            Ok(Err(error)) => return Err(unknown(&error)),
            Err(_) => return Err(Problem::access_unknown("the Kubernetes API server does not answer")),
        };
        let mut verdicts = self.verdicts.lock();
        if verdicts.len() >= VERDICTS_MAX {
            verdicts.retain(|_, (since, _)| since.elapsed() < VERDICT_PERIOD);
        }
        if verdicts.len() < VERDICTS_MAX {
            verdicts.insert(key, (Instant::now(), verdict.clone()));
        }
        verdict
    }

    async fn ask(&self, token: &str, verb: &str, path: &str) -> Result<Result<Asker, Problem>, kube::Error> {
        let spec = TokenReviewSpec { token: Some(token.to_owned()), audiences: None };
        let review = TokenReview { spec, ..TokenReview::default() };
        let review = Api::<TokenReview>::all(self.client.clone()).create(&PostParams::default(), &review).await?;
        let status = review.status.unwrap_or_default();
        let Some(user) = status.user.filter(|_| status.authenticated == Some(true)) else {
            return Ok(Err(Problem::unauthenticated("the Kubernetes API server does not know the bearer token")));
        };
        let name = user.username.clone().unwrap_or_default();
        let review = SubjectAccessReview { spec: may(user, verb, path), ..SubjectAccessReview::default() };
        let reviews = Api::<SubjectAccessReview>::all(self.client.clone());
        let review = reviews.create(&PostParams::default(), &review).await?;
        if review.status.is_some_and(|status| status.allowed) {
            return Ok(Ok(Asker(name)));
        }
        Ok(Err(Problem::forbidden(&format!(
            "`{name}` may not {verb} `{path}`\nhint: bind a ClusterRole with `nonResourceURLs: [\"{path}\"]`, `verbs: [{verb}]` to it"
        ))))
    }
}

/// Whether a user may do something with a path, as a question.
fn may(user: UserInfo, verb: &str, path: &str) -> SubjectAccessReviewSpec {
    let what = NonResourceAttributes { path: Some(path.to_owned()), verb: Some(verb.to_owned()) };
    SubjectAccessReviewSpec {
        user: user.username,
        groups: user.groups,
        uid: user.uid,
        extra: user.extra,
        non_resource_attributes: Some(what),
        resource_attributes: None,
    }
}

fn unknown(error: &kube::Error) -> Problem {
    let hint = match error {
        kube::Error::Api(status) if status.code == 403 => {
            "\nhint: bind the ClusterRole `system:auth-delegator` to the engine's service account"
        }
        _ => "",
    };
    warn!("access cannot be checked: {error}");
    Problem::access_unknown(&format!("the Kubernetes API server cannot be asked: {error}{hint}"))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use axum::body::Body;
    use axum::routing::get;
    use tower::ServiceExt;

    use super::*;

    async fn ask(router: &Router, path: &str, authorization: Option<&str>) -> (u16, bool) {
        let mut request = Request::builder().uri(path).header(header::HOST, "localhost");
        if let Some(value) = authorization {
            request = request.header(header::AUTHORIZATION, value);
        }
        let Ok(response) = router.clone().oneshot(request.body(Body::empty()).expect("a path")).await;
        (response.status().as_u16(), response.headers().contains_key(header::WWW_AUTHENTICATE))
    }

    #[tokio::test]
    async fn whoever_knows_the_token_may_ask() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "s3cret\n").unwrap();
        let token = TokenFile::open(file.path().to_owned()).unwrap();
        let paths = Router::new().route("/v1/rules", get(async || "rules")).route("/metrics", get(async || "metrics"));
        let hosts = Hosts::new(Ipv4Addr::LOCALHOST.into(), Vec::new());
        let router = guard(paths, hosts, Arc::new(Access::Token(token)));
        let check = async |path: &str, authorization: Option<&str>, status: u16| {
            assert_eq!(ask(&router, path, authorization).await, (status, status == 401), "{path} {authorization:?}");
        };
        check("/v1/rules", None, 401).await;
        check("/v1/rules", Some("Bearer s3cret"), 200).await;
        check("/v1/rules", Some("bearer  s3cret "), 200).await;
        check("/v1/rules", Some("Bearer s3cre"), 401).await;
        check("/v1/rules", Some("Bearer s3cret2"), 401).await;
        check("/v1/rules", Some("Bearer "), 401).await;
        check("/v1/rules", Some("Basic s3cret"), 401).await;
        check("/nothing", None, 401).await;
        check("/metrics", None, 200).await;
        check("/livez", None, 404).await;
    }

    #[test]
    fn a_file_without_a_token_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), " \n").unwrap();
        assert!(TokenFile::open(file.path().to_owned()).is_err());
        assert!(TokenFile::open(file.path().join("none")).is_err());
    }

    #[test]
    fn a_token_file_that_changes_is_followed_and_one_that_goes_is_not() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "old").unwrap();
        let token = TokenFile::open(file.path().to_owned()).unwrap();
        let old_enough = || token.read.lock().0 -= TOKEN_FILE_PERIOD;
        std::fs::write(file.path(), "new").unwrap();
        assert!(token.check("old").is_ok(), "it is not read at every question");
        old_enough();
        assert!(token.check("new").is_ok() && token.check("old").is_err());
        std::fs::write(file.path(), "").unwrap();
        old_enough();
        assert!(token.check("new").is_ok(), "an empty file is a mistake, not a token");
    }
}
