//! Prints the OpenAPI document of the control API, as `docs/reference/openapi.json` has it.

use std::io::Write;

fn main() -> std::io::Result<()> {
    let document = serde_json::to_string_pretty(&ambit_control::api::openapi())?;
    writeln!(std::io::stdout(), "{document}")
}
