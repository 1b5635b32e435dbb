//! Requests of ours to the provider at which people sign in: one each, no redirects, all of it bounded.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use ambit_control::people::{Ask, Fetch, Fetched, PROVIDER_ANSWER_BYTES_MAX};
use ambit_gateway::Secrets;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, lookup_host},
    time::timeout,
};
use tokio_rustls::TlsConnector;

use crate::config::SignInConfig;

/// How long one request may take, from the look-up of the name to the last byte.
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("`{0}` is no address that is asked")]
    Address(String),
    #[error("this machine trusts no certificates; install its ca-certificates")]
    Roots,
    #[error("the secret `{0}` is not sealed here; run `ambit secret set {0}`")]
    Secret(String),
    #[error("it can't be reached ({0})")]
    Unreachable(#[from] io::Error),
    #[error("its answer broke off or is too long")]
    Broken,
    #[error("it did not answer in time")]
    Late,
}

/// Who we are at the provider, and what its certificate is held against.
struct Client {
    config: SignInConfig,
    secrets: Secrets,
    tls: Option<Arc<ClientConfig>>,
}

/// Returns what sends requests to the provider that `config` names.
pub(super) fn fetch(
    config: &SignInConfig,
    secrets: &Secrets,
    tls: Option<Arc<ClientConfig>>,
) -> Fetch {
    let client = Arc::new(Client {
        config: config.clone(),
        secrets: Arc::clone(secrets),
        tls,
    });
    Arc::new(move |ask| {
        let client = Arc::clone(&client);
        Box::pin(async move {
            let asked = timeout(FETCH_TIMEOUT, client.fetch(ask)).await;
            let answer = asked.unwrap_or(Err(FetchError::Late));
            answer.map_err(|error| error.to_string())
        })
    })
}

impl Client {
    async fn fetch(&self, ask: Ask) -> Result<Fetched, FetchError> {
        let wrong = || FetchError::Address(ask.url.clone());
        let uri: Uri = ask.url.parse().map_err(|_| wrong())?;
        let (Some(scheme), Some(host)) = (uri.scheme_str(), uri.host()) else {
            return Err(wrong());
        };
        let is_plain = match scheme {
            "https" => false,
            "http" => true,
            _ => return Err(wrong()),
        };
        let host = host.trim_matches(['[', ']']).to_owned();
        let port = uri.port_u16().unwrap_or(if is_plain { 80 } else { 443 });
        let addresses: Vec<SocketAddr> = lookup_host((host.as_str(), port)).await?.collect();
        // Without TLS nothing leaves this machine.
        if is_plain && !addresses.iter().all(|it| it.ip().is_loopback()) {
            return Err(wrong());
        }
        let request = self.request(&uri, ask.form)?;
        let stream = TcpStream::connect(addresses.as_slice()).await?;
        if is_plain {
            return exchange(stream, request).await;
        }
        let tls = self.tls.clone().ok_or(FetchError::Roots)?;
        let name = ServerName::try_from(host).map_err(|_| wrong())?;
        let stream = TlsConnector::from(tls).connect(name, stream).await?;
        exchange(stream, request).await
    }

    fn request(&self, uri: &Uri, form: Option<String>) -> Result<Request<Full<Bytes>>, FetchError> {
        let wrong = || FetchError::Address(uri.to_string());
        let authority = uri.authority().ok_or_else(wrong)?.as_str();
        let path = uri.path_and_query().map_or("/", |it| it.as_str());
        let mut request = Request::builder()
            .uri(path)
            .header(header::HOST, authority)
            .header(header::ACCEPT, "application/json")
            .header(header::CONNECTION, "close");
        let Some(form) = form else {
            return request.body(Full::default()).map_err(|_| wrong());
        };
        request = request
            .method(Method::POST)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        if let Some(reference) = &self.config.secret {
            let missing = || FetchError::Secret(reference.clone());
            let secret = (self.secrets)(reference).ok_or_else(missing)?;
            let basic = secret.basic(&self.config.client_id);
            let mut value = HeaderValue::from_bytes(basic.value()).map_err(|_| missing())?;
            value.set_sensitive(true);
            request = request.header(basic.name(), value);
        }
        request.body(Full::from(form)).map_err(|_| wrong())
    }
}

async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> Result<Fetched, FetchError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let broken = |_| FetchError::Broken;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    let driving = tokio::spawn(connection);
    let answered = async {
        let response = sender.send_request(request).await.map_err(broken)?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), PROVIDER_ANSWER_BYTES_MAX);
        let body = body.collect().await.map_err(|_| FetchError::Broken)?;
        Ok(Fetched {
            status,
            body: body.to_bytes(),
        })
    };
    let answered = answered.await;
    driving.abort();
    answered
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    fn client(secret: Option<&str>) -> Fetch {
        let config = SignInConfig {
            issuer: "http://127.0.0.1:1".to_owned(),
            client_id: "a:b".to_owned(),
            secret: secret.map(str::to_owned),
        };
        let secrets: Secrets = Arc::new(|reference| {
            let known = reference == "id-secret";
            known.then(|| ambit_broker::Secret::new(b"s 1").unwrap())
        });
        fetch(&config, &secrets, None)
    }

    /// Answers one request with `answer` and returns the request.
    async fn serve(answer: String) -> (String, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/x?y", listener.local_addr().unwrap());
        let serving = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.windows(4).any(|it| it == b"\r\n\r\n") {
                let mut bytes = [0; 1024];
                let read = stream.read(&mut bytes).await.unwrap();
                request.extend_from_slice(&bytes[..read]);
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8(request).unwrap()
        });
        (url, serving)
    }

    async fn check(answer: String, wanted: Result<(u16, usize), &str>) {
        let (url, serving) = serve(answer).await;
        let found = client(None)(Ask { url, form: None }).await;
        match (found, wanted) {
            (Ok(found), Ok(wanted)) => assert_eq!((found.status, found.body.len()), wanted),
            (Err(error), Err(part)) => assert!(error.contains(part), "{error}"),
            (found, wanted) => panic!("{found:?}, wanted {wanted:?}"),
        }
        let request = serving.await.unwrap();
        assert!(request.starts_with("GET /x?y HTTP/1.1\r\n"), "{request}");
        assert!(!request.contains("authorization"), "{request}");
    }

    #[tokio::test]
    async fn an_answer_is_whole_bounded_and_from_where_it_was_asked() {
        let of = |bytes: usize| {
            format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {bytes}\r\n\r\n{}",
                "x".repeat(bytes)
            )
        };
        check(of(2), Ok((200, 2))).await;
        let most = PROVIDER_ANSWER_BYTES_MAX;
        check(of(most), Ok((200, most))).await;
        check(of(most + 1), Err("too long")).await;
        let cut = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx";
        check(cut.to_owned(), Err("broke off")).await;
        let elsewhere =
            "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n";
        check(elsewhere.to_owned(), Ok((302, 0))).await;
    }

    #[tokio::test]
    async fn the_client_proves_itself_only_with_a_form() {
        let (url, serving) = serve("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_owned()).await;
        let form = Some("code=1".to_owned());
        let ask = Ask { url, form };
        client(Some("id-secret"))(ask).await.unwrap();
        let request = serving.await.unwrap();
        // `a%3Ab:s+1` (RFC 6749 §2.3.1).
        assert!(
            request.contains("authorization: Basic YSUzQWI6cysx\r\n"),
            "{request}"
        );
        let ask = Ask {
            url: "http://127.0.0.1:1/".to_owned(),
            form: Some(String::new()),
        };
        let error = client(Some("other"))(ask).await.unwrap_err();
        assert!(error.contains("ambit secret set other"), "{error}");
    }

    #[tokio::test]
    async fn plain_requests_stay_on_this_machine() {
        for url in [
            "http://192.0.2.1/",
            "ftp://127.0.0.1/",
            "127.0.0.1",
            "",
            "file:///etc/passwd",
        ] {
            let ask = Ask {
                url: url.to_owned(),
                form: None,
            };
            let error = client(None)(ask).await.unwrap_err();
            assert!(error.contains("no address"), "{url}: {error}");
        }
    }
}
