//! Getting a login: this command line waits until a person says yes in a browser (RFC 8628).

use std::time::Duration;

use ambit_control::oauth::COMMAND_LINE;
use ambit_core::json::{Value, parse_bounded};
use bytes::Bytes;
use form_urlencoded::Serializer;
use http::Method;

use super::{Channel, LoginError, Sent};

/// The longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// How long is waited between two questions at most, whatever the server says.
const POLL_EVERY_MAX: Duration = Duration::from_secs(60);

/// What to show a person.
#[derive(Clone, Debug)]
pub(crate) struct Begun {
    device_code: String,
    /// The code that both show.
    pub(crate) user_code: String,
    /// Where to go.
    pub(crate) address: String,
    /// The same, with the code in it.
    pub(crate) whole_address: String,
    /// How long to wait before each question.
    pub(crate) every: Duration,
    /// For how long it is good, in seconds.
    pub(crate) lives_seconds: u64,
}

/// What the server answers to a question.
#[derive(Debug)]
pub(crate) enum Answered {
    /// A person said yes: the login's text, and for how many seconds it is good.
    Yes(String, u64),
    /// Nobody answered yet; wait that long before the next question.
    NotYet(Duration),
}

/// Asks for a code.
pub(crate) async fn begin(channel: &Channel, device: &str) -> Result<Begun, LoginError> {
    let form = Serializer::new(String::new())
        .append_pair("client_id", COMMAND_LINE)
        .append_pair("device", device)
        .finish();
    let answer = ask(channel, "/oauth/device_authorization", form).await?;
    if let Some(error) = refusal(&answer) {
        return Err(LoginError::Refused(error));
    }
    let (code, user) = (text(&answer, "device_code"), text(&answer, "user_code"));
    let places = ["verification_uri", "verification_uri_complete"].map(|it| text(&answer, it));
    let (Some(device_code), Some(user_code), [Some(address), Some(whole_address)]) =
        (code, user, places)
    else {
        return Err(LoginError::Refused("it speaks another version".to_owned()));
    };
    Ok(Begun {
        device_code,
        user_code,
        address,
        whole_address,
        every: seconds(&answer, "interval").min(POLL_EVERY_MAX),
        lives_seconds: seconds(&answer, "expires_in").as_secs(),
    })
}

/// Asks whether a person has answered.
pub(crate) async fn poll(
    channel: &Channel,
    begun: &Begun,
    every: Duration,
) -> Result<Answered, LoginError> {
    let form = Serializer::new(String::new())
        .append_pair("grant_type", "urn:ietf:params:oauth:grant-type:device_code")
        .append_pair("client_id", COMMAND_LINE)
        .append_pair("device_code", &begun.device_code)
        .finish();
    let answer = ask(channel, "/oauth/token", form).await?;
    if let Some(login) = text(&answer, "access_token") {
        return Ok(Answered::Yes(
            login,
            seconds(&answer, "expires_in").as_secs(),
        ));
    }
    match text(&answer, "error").as_deref() {
        Some("authorization_pending") => Ok(Answered::NotYet(every)),
        Some("slow_down") => Ok(Answered::NotYet((every + begun.every).min(POLL_EVERY_MAX))),
        Some("access_denied") => Err(LoginError::NotLet("the person said no in the browser")),
        Some("expired_token") => Err(LoginError::NotLet(
            "nobody answered in time; run `ambit login` again",
        )),
        Some(_) | None => Err(LoginError::Refused(
            refusal(&answer).unwrap_or_else(|| "it did not say why".to_owned()),
        )),
    }
}

async fn ask(channel: &Channel, path: &str, form: String) -> Result<Value, LoginError> {
    let sent = Sent {
        method: Method::POST,
        path,
        login: None,
        body: Some((Bytes::from(form), "application/x-www-form-urlencoded")),
        bytes_max: ANSWER_BYTES_MAX,
    };
    let came = channel.send(sent).await?;
    parse_bounded(&came.body, ANSWER_BYTES_MAX).map_err(|_| {
        LoginError::Refused(format!(
            "{} answered {} and no JSON; is it the public URL of an Ambit server?",
            channel.url(),
            came.status
        ))
    })
}

fn refusal(answer: &Value) -> Option<String> {
    let said = text(answer, "error_description").or_else(|| text(answer, "detail"));
    said.or_else(|| text(answer, "error"))
        .or_else(|| text(answer, "title"))
}

fn text(value: &Value, name: &str) -> Option<String> {
    value.get(name).and_then(Value::as_str).map(str::to_owned)
}

fn seconds(value: &Value, name: &str) -> Duration {
    let seconds = value.get(name).and_then(Value::as_integer);
    Duration::from_secs(seconds.and_then(|it| it.try_into().ok()).unwrap_or(5))
}
