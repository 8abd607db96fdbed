//! `[[request]]`: what is asked, safe to put on a wire. Whatever could end a line or a header
//! early is refused here, so the engine can copy bytes without looking at them.

use std::collections::BTreeMap;

use super::answer;
use super::feeder::{Feeding, Trouble};
use super::scalar::{Names, within};
use crate::error::{did_you_mean, tick};
use crate::feeder::Field;
use crate::file::scalar::At;
use crate::file::tables::Request;
use crate::findings::Findings;
use crate::place::{Place, Places, Spot};
use crate::plan::{FeederOrder, RequestPlan, TargetPlan};
use crate::template::{Part, Placeholder, TemplateError, parse};

/// The most request classes.
pub const MAX_REQUESTS: usize = 64;
/// The most headers of one class as typed.
pub const MAX_HEADERS: usize = 32;
/// The longest path, in bytes.
pub const MAX_PATH_LEN: usize = 2048;
/// The longest header value, in bytes.
const MAX_HEADER_LEN: usize = 4096;
/// The longest body, in bytes.
pub const MAX_BODY_LEN: usize = 64 * 1024;
/// The greatest weight: shares stay exact enough whatever stands beside it.
pub(super) const MAX_WEIGHT: f64 = 1e9;

/// Methods that a request may use. `HEAD` and `CONNECT` answer in forms of their own.
const METHODS: [&str; 6] = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
/// Headers that say where a message ends or what becomes of its connection.
const OWN_HEADERS: [&str; 10] = [
    "host",
    "content-length",
    "connection",
    "transfer-encoding",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "upgrade",
    "expect",
];
const DEFAULT_DECLINED: u16 = 402;

pub(super) fn lower(
    file: &[At<Request>],
    target: Option<&TargetPlan>,
    feeding: &Feeding,
    findings: &mut Findings,
) -> Vec<RequestPlan> {
    let Some(first) = file.first() else {
        findings.add(0..0, "there is no request; add a [[request]] with name, method and path");
        return Vec::new();
    };
    if file.len() > MAX_REQUESTS {
        findings.add(file[MAX_REQUESTS].span(), format!("there are more than {MAX_REQUESTS} requests"));
    }
    let mut names = Names::new("request");
    let requests: Vec<RequestPlan> = file
        .iter()
        .take(MAX_REQUESTS)
        .map(|typed| {
            names.add_tag(&typed.name, findings);
            One::new(format!("request {}:", tick(&typed.name)), target, feeding, findings).lower(typed)
        })
        .collect();
    if requests.iter().all(|r| r.weight == 0.0) {
        findings.add(
            first.span(),
            "every request has the weight 0, so none would ever be sent; give one a positive weight",
        );
    }
    requests
}

/// One request being checked, or one step of a journey.
pub(super) struct One<'a> {
    what: String,
    has_token: bool,
    feeding: &'a Feeding,
    findings: &'a mut Findings,
}

impl<'a> One<'a> {
    /// What is told begins with `what`.
    pub(super) fn new(
        what: String,
        target: Option<&TargetPlan>,
        feeding: &'a Feeding,
        findings: &'a mut Findings,
    ) -> Self {
        // An unreadable target is told already; do not blame requests for it.
        let has_token = target.is_none_or(|t| !matches!(t, TargetPlan::Url { token_env: None, .. }));
        Self { what, has_token, feeding, findings }
    }

    /// Whether the target has a bearer token.
    pub(super) fn has_token(&self) -> bool {
        self.has_token
    }

    /// The files' rows.
    pub(super) fn feeding(&self) -> &'a Feeding {
        self.feeding
    }

    /// The request; wrong parts are told and stand in it as typed.
    fn lower(&mut self, typed: &Request) -> RequestPlan {
        let weight = within(
            typed.weight.as_ref(),
            1.0,
            0.0..=MAX_WEIGHT,
            &format!("{} weight", self.what),
            self.findings,
        );
        self.method(&typed.method);
        self.path_form(&typed.path);
        self.template(&typed.path, Spot::Path, "path");
        let mut headers = self.headers_form(&typed.headers);
        for (name, value) in &typed.headers {
            self.template(value, Spot::Header, &format!("header {}", tick(name)));
        }
        if let Some(body) = &typed.body {
            let named = |h: &(String, String)| h.0.eq_ignore_ascii_case("content-type");
            self.body(body, Spot::of_body_with(&headers), !headers.iter().any(named));
            if !headers.iter().any(named) {
                headers.push(("Content-Type".to_owned(), "application/json".to_owned()));
            }
        }
        self.add_bearer(&mut headers);
        let (expect, declined) = self.outcomes(&typed.expect, typed.declined.as_deref());
        let mut request = RequestPlan {
            name: typed.name.to_string(),
            weight: weight.unwrap_or(1.0),
            method: typed.method.to_string(),
            path: typed.path.to_string(),
            headers,
            body: typed.body.as_deref().cloned(),
            expect,
            declined,
            check: answer::checks(&typed.check, &self.what, self.findings),
            retry: None,
        };
        request.retry =
            typed.retry.as_ref().and_then(|r| answer::retry(r, &request, &self.what, self.findings));
        request
    }

    /// The target's token as a bearer, unless the request says who is calling.
    pub(super) fn add_bearer(&self, headers: &mut Vec<(String, String)>) {
        if self.has_token && !headers.iter().any(|h| h.0.eq_ignore_ascii_case("authorization")) {
            headers.push(("Authorization".to_owned(), "Bearer ${token}".to_owned()));
        }
    }

    /// The statuses that count as ok, and those that count as declined.
    pub(super) fn outcomes(
        &mut self,
        expect: &[At<u16>],
        declined: Option<&[At<u16>]>,
    ) -> (Vec<u16>, Vec<u16>) {
        let typed = declined;
        let expect = self.statuses(expect, "expect");
        let declined = match typed {
            Some(list) => self.statuses(list, "declined"),
            None if expect.contains(&DEFAULT_DECLINED) => Vec::new(),
            None => vec![DEFAULT_DECLINED],
        };
        if let Some(both) = typed.into_iter().flatten().find(|s| expect.contains(s)) {
            self.tell(both, format!("status {} is both expected and declined; keep it in one list", **both));
        }
        (expect, declined)
    }

    pub(super) fn tell<T>(&mut self, at: &At<T>, message: impl std::fmt::Display) {
        self.findings.add(at.span(), format!("{} {message}", self.what));
    }

    pub(super) fn method(&mut self, method: &At<String>) {
        if !METHODS.contains(&method.as_str()) {
            let hint = did_you_mean(method, METHODS.into_iter());
            let known = METHODS.join(", ");
            self.tell(method, format!("method {} is none of {known}{hint}", tick(method)));
        }
    }

    /// Whether `path` can stand in a request line, its placeholders aside.
    pub(super) fn path_form(&mut self, path: &At<String>) {
        if !path.starts_with('/') {
            self.tell(path, format!("path {} must begin with /; the host is target.url's", tick(path)));
        } else if path.len() > MAX_PATH_LEN {
            self.tell(path, format!("path {} is longer than {MAX_PATH_LEN} bytes", tick(path)));
        } else if let Some(c) = path.chars().find(|c| !c.is_ascii_graphic() || *c == '#') {
            let encoded: String = c.to_string().bytes().map(|b| format!("%{b:02X}")).collect();
            self.tell(
                path,
                format!("path {} holds {c:?}, which must not stand in a path; write {encoded}", tick(path)),
            );
        }
    }

    /// The headers in the order typed, when they can stand in a head, their placeholders aside.
    pub(super) fn headers_form(&mut self, typed: &BTreeMap<At<String>, At<String>>) -> Vec<(String, String)> {
        let mut sorted: Vec<_> = typed.iter().collect();
        sorted.sort_by_key(|(name, _)| name.span().start);
        if let Some((beyond, _)) = sorted.get(MAX_HEADERS) {
            self.tell(beyond, format!("there are more than {MAX_HEADERS} headers"));
            return Vec::new();
        }
        let mut seen = std::collections::HashSet::new();
        for (name, value) in &sorted {
            let lower = name.to_ascii_lowercase();
            let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
            if name.is_empty() || name.len() > super::MAX_NAME_LEN || !name.bytes().all(token) {
                self.tell(
                    name,
                    format!("header name {} must be a token of letters, digits and -", tick(name)),
                );
            } else if OWN_HEADERS.contains(&lower.as_str()) {
                self.tell(name, format!("header {} is squall's to write; remove it", tick(name)));
            }
            if !seen.insert(lower) {
                self.tell(name, format!("header {} is given twice; join the values", tick(name)));
            }
            if value.len() > MAX_HEADER_LEN {
                self.tell(value, format!("header {} is longer than {MAX_HEADER_LEN} bytes", tick(name)));
            } else if let Some(c) = value.chars().find(|c| !(c.is_ascii_graphic() || *c == ' ' || *c == '\t'))
            {
                self.tell(
                    value,
                    format!("header {} holds {c:?}, which must not stand in a header; encode it", tick(name)),
                );
            }
        }
        sorted.into_iter().map(|(n, v)| (n.to_string(), v.to_string())).collect()
    }

    fn body(&mut self, body: &At<String>, spot: Spot, must_be_json: bool) {
        if body.len() > MAX_BODY_LEN {
            self.tell(body, format!("the body is longer than {MAX_BODY_LEN} bytes"));
            return;
        }
        if !self.template(body, spot, "body") || !must_be_json {
            return;
        }
        // A number, and text that is safe in quotes: what each placeholder looks like.
        let mut places = Places::new(spot);
        let example: String = parse(body)
            .unwrap_or_default()
            .into_iter()
            .map(|part| match part {
                Part::Text(t) => {
                    places.pass(t);
                    t
                }
                // Padded, as it is sent: a digit before it is no JSON, and `11` would hide that.
                Part::Hole(Placeholder::Amount, _) => " 1",
                // No neighbour makes another value of it.
                Part::Column(..) if places.here() == Place::JsonValue => "null",
                Part::Column(..) | Part::Hole(..) => "a",
            })
            .collect();
        self.json_example(body, &example);
    }

    /// Whether `body` is JSON once its placeholders are filled in, as in `example`.
    pub(super) fn json_example(&mut self, body: &At<String>, example: &str) {
        if let Err(e) = serde_json::from_str::<serde::de::IgnoredAny>(example) {
            let why = e.to_string();
            let why = why.split(" at line").next().unwrap_or_default().to_owned();
            self.tell(
                body,
                format!("the body is not JSON once its placeholders are filled in ({why}); mend it, or say what it is with a Content-Type header"),
            );
        }
    }

    /// Whether the placeholders of `text` are ones, and allowed in `spot`.
    fn template(&mut self, text: &At<String>, spot: Spot, place: &str) -> bool {
        let parts = match parse(text) {
            Ok(parts) => parts,
            Err(TemplateError::Unclosed { at }) => {
                let from: String = text[at..].chars().take(12).collect();
                self.tell(text, format!("{place} has no closing }} for {}", tick(&from)));
                return false;
            }
            Err(TemplateError::Unknown { name, .. }) => {
                let known = Placeholder::ALL.map(Placeholder::name);
                let hint = did_you_mean(&name, known.into_iter());
                let all = known.map(|k| format!("${{{k}}}")).join(" ");
                self.tell(
                    text,
                    format!(
                        "{place} has an unknown placeholder {}{hint} (known: {all})",
                        tick(&format!("${{{name}}}"))
                    ),
                );
                return false;
            }
        };
        let mut places = Places::new(spot);
        let mut fields = Vec::new();
        let mut good = true;
        for part in parts {
            let trouble = match part {
                Part::Text(t) => {
                    places.pass(t);
                    None
                }
                Part::Column(name, _) => {
                    match Field::find(name, self.feeding.plans()) {
                        Some(field) => fields.push((field, places.here())),
                        None => {
                            good = false;
                            if let Trouble::Told(trouble) = self.feeding.unknown(name) {
                                self.tell(text, format!("{place} {trouble}"));
                            }
                        }
                    }
                    None
                }
                Part::Hole(Placeholder::Amount, _) if matches!(spot, Spot::Path | Spot::Header) => {
                    Some("${amount}, which is padded with spaces and so belongs into a body")
                }
                Part::Hole(Placeholder::Amount, _) if places.in_quotes() => {
                    Some("${amount} in quotes, but it is a number padded with spaces; take the quotes away")
                }
                Part::Hole(Placeholder::Token, _) if spot != Spot::Header => {
                    Some("${token}, which is a secret and belongs into a header, where nobody logs it")
                }
                Part::Hole(Placeholder::Token, _) if !self.has_token => {
                    Some("${token}, but the target has none; name its variable in target.token_env")
                }
                Part::Hole(..) => None,
            };
            if let Some(trouble) = trouble {
                self.tell(text, format!("{place} holds {trouble}"));
                good = false;
            }
        }
        if let Some((field, _)) = fields.iter().find(|(f, _)| self.feeding.order(*f) == FeederOrder::PerUser)
        {
            let name = &self.feeding.plans()[usize::from(field.feeder)].name;
            self.tell(
                text,
                format!(
                    "{place} draws from feeder {} with order = \"per_user\", and only journeys have users; \
                     make it sequential or random",
                    tick(name)
                ),
            );
            return false;
        }
        self.fields(text, &fields, spot, place) && good
    }

    /// Whether every value of `fields` can stand in `text`, each at its place.
    pub(super) fn fields(
        &mut self,
        text: &At<String>,
        fields: &[(Field, Place)],
        spot: Spot,
        place: &str,
    ) -> bool {
        let misfit = fields.iter().find_map(|(f, at)| self.feeding.misfit(*f, *at));
        if let Some(misfit) = misfit {
            self.tell(text, format!("{place} {misfit}"));
            return false;
        }
        let most = match spot {
            Spot::Path => MAX_PATH_LEN,
            Spot::Header => MAX_HEADER_LEN,
            Spot::Json | Spot::Form | Spot::Other => MAX_BODY_LEN,
        };
        let added: usize = fields.iter().map(|(f, at)| self.feeding.longest(*f, *at)).sum();
        if !fields.is_empty() && text.len() + added > most {
            self.tell(
                text,
                format!(
                    "{place} may become longer than {most} bytes with the values of its feeders; shorten them"
                ),
            );
            return false;
        }
        true
    }

    fn statuses(&mut self, typed: &[At<u16>], key: &str) -> Vec<u16> {
        if let Some(wrong) = typed.iter().find(|s| !(200..=599).contains(&***s)) {
            self.tell(wrong, format!("{key} {} is not a final HTTP status; they are 200 to 599", **wrong));
        }
        let mut all: Vec<u16> = typed.iter().map(|s| **s).collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}
