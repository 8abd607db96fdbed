//! The API as OpenAPI 3.1, made of the handlers' own descriptions.
//!
//! Handlers are routed by their description (`utoipa_axum::routes!`), so there is neither without the other.
//! What holds for every call, and is written once in the code, is added here.

use std::sync::LazyLock;

use axum::http::StatusCode;
use axum::response::Response;
use bytes::Bytes;
use utoipa::OpenApi as _;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    ContentBuilder, Header, HeaderBuilder, ObjectBuilder, OpenApi, Ref, RefOr, ResponseBuilder, Type,
};

use super::problem::Envelope;
use super::{api, render};

/// The name of the bearer tokens.
const BEARER: &str = "bearer";

/// What the document says before its calls.
#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "payments",
        description = "The reference payment service of squall. Amounts are whole minor units; unknown fields are \
                       errors.\n\nAny call may also be answered: 400 or 431 without a body, when it is no HTTP/1.1 or its head is above \
                       16 KiB or 64 headers; 503 `too_many_connections`, without a `Request-Id`, when too many connections are open; and, below \
                       `/v1`, with the status of a fault that is armed and the header `Squall-Fault`."
    ),
    components(schemas(Envelope)),
    tags(
        (name = "payments", description = "Money moves from one account to another, once for each key"),
        (name = "accounts", description = "Who has how much"),
        (name = "books", description = "Whether everything adds up"),
        (name = "login", description = "A password for tokens"),
        (name = "watching", description = "What the service says of itself: without a token, a fault or an allowance"),
    ),
)]
struct Head;

/// `GET /openapi.json`
#[utoipa::path(get, path = "/openapi.json", operation_id = "openapi", tag = "watching", summary = "This document", security(()),
    responses((status = 200, body = serde_json::Value, description = "OpenAPI 3.1")))]
pub async fn document() -> Response {
    // Rendered once.
    static TEXT: LazyLock<Bytes> = LazyLock::new(|| json().into());
    render::json(StatusCode::OK, TEXT.clone())
}

/// The document.
#[must_use]
pub fn json() -> String {
    let mut json = whole().to_pretty_json().expect("a document is JSON");
    json.push('\n');
    json
}

/// Every call with everything it can be answered.
fn whole() -> OpenApi {
    let mut whole = Head::openapi();
    for routes in [api::v1(), api::watching()] {
        whole.merge(routes.into_openapi());
    }
    let components = whole.components.get_or_insert_default();
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer);
    let description = "`PAYMENTS_TOKEN`, or an access token of a user who has logged in";
    let bearer = bearer.description(Some(description)).build();
    components.security_schemes.insert(BEARER.to_owned(), SecurityScheme::Http(bearer).into());
    for (path, item) in &mut whole.paths.paths {
        for operation in operations(item) {
            complete(operation, path.starts_with("/v1/"));
        }
    }
    whole
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.post, &mut item.put, &mut item.patch, &mut item.delete].into_iter().flatten()
}

/// Adds what the code around the handlers answers. What a handler says itself stays.
fn complete(operation: &mut Operation, below_v1: bool) {
    let mut add = |status: u16, description: &str, headers: &[&str]| {
        let problem = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
        let answer = ResponseBuilder::new().description(description).content("application/json", problem);
        let mut answer = answer.build();
        answer.headers = headers.iter().map(|name| ((*name).to_owned(), header(name).into())).collect();
        operation.responses.responses.entry(status.to_string()).or_insert(RefOr::T(answer));
    };
    if below_v1 {
        add(429, "More than the caller or the address may send, or enough of these under way", SHED);
        add(500, "A bug, or a fault that was armed", &[]);
        add(
            503,
            "`overloaded`, when it has the headers: nothing was executed. Otherwise the store or the network failed",
            SHED,
        );
        add(504, "Out of time; whether it was executed is not known", &[]);
        if operation.request_body.is_some() {
            add(400, "The field or header that `param` names is wrong, or the body as a whole", &[]);
            add(413, "The body is above 16 KiB", &[]);
        }
        if operation.security.is_none() {
            add(401, "Without a valid token", &["WWW-Authenticate"]);
            add(403, "The caller's role does not do this", &[]);
            operation.security = Some(vec![SecurityRequirement::new(BEARER, [""; 0])]);
        }
    }
    for answer in operation.responses.responses.values_mut() {
        if let RefOr::T(answer) = answer {
            answer.headers.insert("Request-Id".to_owned(), header("Request-Id").into());
        }
    }
}

/// The headers of a request of which nothing was executed.
const SHED: &[&str] = &["Retry-After", "Not-Executed"];

fn header(name: &str) -> Header {
    let (kind, description) = match name {
        "Retry-After" => (Type::Integer, "After how many seconds it is worth asking again"),
        "Not-Executed" => (Type::String, "`true`: nothing was executed, and sending it again is safe"),
        "WWW-Authenticate" => (Type::String, "`Bearer`"),
        _ => (Type::String, "The request's name in logs and traces"),
    };
    let schema = ObjectBuilder::new().schema_type(kind).build();
    HeaderBuilder::new().schema(Some(schema)).description(Some(description)).build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    const SCHEMA_FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../schema/openapi.json");

    /// Every method and path of the document, with its call.
    fn calls(document: &Value) -> Vec<(String, String, &Value)> {
        let paths = document["paths"].as_object().unwrap().iter();
        let calls = paths.flat_map(|(path, item)| {
            let methods = item.as_object().unwrap().iter();
            methods.map(move |(method, call)| (method.to_uppercase(), path.clone(), call))
        });
        calls.collect()
    }

    #[test]
    fn the_committed_document_is_the_generated_one() {
        if std::env::var_os("UPDATE_SCHEMA").is_some() {
            std::fs::write(SCHEMA_FILE, json()).unwrap();
        }
        let committed = std::fs::read_to_string(SCHEMA_FILE).unwrap_or_default();
        assert!(
            committed == json(),
            "schema/openapi.json differs: run `UPDATE_SCHEMA=1 cargo test -p payments --lib` and look at the diff"
        );
    }

    #[test]
    fn no_route_is_without_a_description_and_none_without_a_label() {
        // Whatever is routed by `routes!` is in the document; nothing is routed otherwise.
        let source = include_str!("api.rs");
        assert!(!source.contains(".route(\"") && !source.contains(".nest("));
        let document: Value = serde_json::from_str(&json()).unwrap();
        let calls = calls(&document);
        assert_eq!(
            calls.len(),
            source.matches(".routes(routes!(").count() + 1,
            "and the making of a payment"
        );
        for (method, path, _) in &calls {
            let label = api::route(&method.parse().unwrap(), &path.replace("{id}", "x"));
            let own = format!("{method} {path}");
            assert!(label == own || label == "watching", "{own} is counted as {label}");
        }
    }

    #[test]
    fn every_call_names_its_answers() {
        let document: Value = serde_json::from_str(&json()).unwrap();
        for (method, path, call) in calls(&document) {
            let answers = call["responses"].as_object().unwrap();
            let has = |status: &str| answers.contains_key(status);
            for (status, answer) in answers {
                assert!(answer["headers"]["Request-Id"].is_object(), "{method} {path} {status}");
                let problem =
                    answer["content"]["application/json"]["schema"]["$ref"] == "#/components/schemas/Problem";
                assert_eq!(
                    problem,
                    status.parse::<u16>().unwrap() >= 400 && path.starts_with("/v1/"),
                    "{method} {path} {status}"
                );
            }
            let secured = call["security"] == serde_json::json!([{ "bearer": [] }]);
            assert_eq!(
                secured,
                path.starts_with("/v1/") && !path.starts_with("/v1/auth/"),
                "{method} {path}"
            );
            if path.starts_with("/v1/") {
                assert!(
                    has("401") && has("429") && has("500") && has("503") && has("504"),
                    "{method} {path}"
                );
                assert_eq!(has("413"), method == "POST", "{method} {path}");
            }
        }
    }

    #[test]
    fn a_payment_is_described_as_it_is_written() {
        use crate::decline::Decline;
        use crate::ids::AccountId;
        use crate::record::{Order, Record, Verdict};
        let document: Value = serde_json::from_str(&json()).unwrap();
        let names = |value: &Value| {
            let mut names: Vec<String> = value.as_object().unwrap().keys().cloned().collect();
            names.sort_unstable();
            names
        };
        let order =
            Order { from: AccountId(1), to: AccountId(2), amount: 1, currency: "EUR".parse().unwrap() };
        let verdicts = [
            ("Payment", Verdict::Succeeded { seq: 1 }),
            ("DeclinedPayment", Verdict::Declined { why: Decline::Fraud }),
        ];
        for (schema, verdict) in verdicts {
            let mut written = Vec::new();
            render::payment(&mut written, &Record { order, verdict, created_ms: 0 }, render::Wanted::ALL);
            let described = &document["components"]["schemas"][schema];
            assert_eq!(names(&serde_json::from_slice(&written).unwrap()), names(&described["properties"]));
            assert_eq!(
                described["required"].as_array().unwrap().len(),
                names(&described["properties"]).len()
            );
        }
        let listed = &document["components"]["schemas"]["ListedPayment"];
        let mut fields = render::FIELDS.map(str::to_owned);
        fields.sort_unstable();
        assert_eq!((names(&listed["properties"]), &listed["required"]), (fields.to_vec(), &Value::Null));
    }
}
