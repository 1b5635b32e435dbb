//! `ambit status`.

use super::Session;
use crate::problem::Problem;

/// Says how the server is.
pub(crate) async fn status(session: &Session) -> Result<(), Problem> {
    let answer = session.client()?.get("/v1/status").await?;
    session.output.object(&answer)
}
