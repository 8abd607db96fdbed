//! Where faults act, and what a scenario names for it: groups, resources and proxies.

use std::collections::BTreeMap;
use std::ops::Range;

use squall_record::fault::Place;

use super::super::scalar::Names;
use crate::error::{did_you_mean, tick};
use crate::file::faults::{Fault, Group, ProxyFile, Resource};
use crate::file::scalar::At;
use crate::findings::Findings;
use crate::plan::{GroupPlan, PlacesPlan, ProxyPlan, ResourcePlan, TargetPlan};

/// The most groups, members of one, resources and proxies.
pub const MAX_PLACES: usize = 64;
/// What the stack of docker compose has of each kind.
pub const STACK: [(&str, &str); 4] =
    [("postgres", "primary"), ("postgres", "replica"), ("redis", "redis"), ("nats", "nats")];

/// What a scenario's faults can act on.
pub struct Places<'a> {
    pub target: Option<&'a TargetPlan>,
    pub known: PlacesPlan,
}

impl<'a> Places<'a> {
    /// What the tables name.
    pub fn lower(
        groups: &[At<Group>],
        resources: &[At<Resource>],
        proxies: &[At<ProxyFile>],
        target: Option<&'a TargetPlan>,
        findings: &mut Findings,
    ) -> Self {
        for (key, beyond) in [
            ("groups", groups.get(MAX_PLACES).map(At::span)),
            ("resources", resources.get(MAX_PLACES).map(At::span)),
            ("proxies", proxies.get(MAX_PLACES).map(At::span)),
        ] {
            if let Some(span) = beyond {
                findings.add(span, format!("there are more than {MAX_PLACES} {key}"));
            }
        }
        let mut names = Names::new("resource");
        let resources = resources
            .iter()
            .take(MAX_PLACES)
            .map(|typed| {
                names.add_tag(&typed.name, findings);
                let var = &typed.url_env;
                if var.is_empty() || var.bytes().any(|b| !(b.is_ascii_alphanumeric() || b == b'_')) {
                    findings.add(
                        var.span(),
                        format!("resource {}: url_env {} is no name of an environment variable; the URL itself may hold a password and has no place here", tick(&typed.name), tick(var)),
                    );
                }
                ResourcePlan { name: typed.name.to_string(), url_env: var.to_string() }
            })
            .collect();
        let mut names = Names::new("proxy");
        let mut front = None;
        let proxies = proxies
            .iter()
            .take(MAX_PLACES)
            .map(|typed| {
                names.add_tag(&typed.name, findings);
                let upstream = typed.upstream.as_ref().map(|u| u.to_string()).filter(|u| u != "target");
                if upstream.is_none()
                    && let Some(front) = front.replace(typed.name.to_string())
                {
                    findings.add(
                        typed.name.span(),
                        format!("proxy {}: {} is in front of the target already, and the load goes through one; name its upstream", tick(&typed.name), tick(&front)),
                    );
                }
                ProxyPlan {
                    name: typed.name.to_string(),
                    listen: typed.listen.as_ref().map(|l| l.to_string()),
                    http: typed.http.unwrap_or(upstream.is_none()),
                    upstream,
                }
            })
            .collect();
        let mut places = Self { target, known: PlacesPlan { groups: Vec::new(), resources, proxies } };
        let mut names = Names::new("group");
        let groups = groups
            .iter()
            .take(MAX_PLACES)
            .filter_map(|typed| {
                names.add_tag(&typed.name, findings);
                places.group(typed, findings)
            })
            .collect();
        places.known.groups = groups;
        places
    }

    fn group(&self, typed: &Group, findings: &mut Findings) -> Option<GroupPlan> {
        let what = format!("group {}:", tick(&typed.name));
        if typed.members.is_empty() || typed.members.len() > MAX_PLACES {
            findings.add(typed.members.span(), format!("{what} it needs 1 to {MAX_PLACES} members"));
            return None;
        }
        let mut members = Vec::new();
        for member in typed.members.iter() {
            match member.parse::<Place>() {
                Ok(place @ (Place::Process(_) | Place::Container(_))) if !members.contains(&place) => {
                    self.is_there(&place, (place.name(), member.span()), &what, findings)?;
                    members.push(place);
                }
                Ok(Place::Process(_) | Place::Container(_)) => {
                    findings.add(member.span(), format!("{what} {} is a member twice", tick(member)));
                }
                _ => findings.add(
                    member.span(),
                    format!("{what} {} is no member; write container:NAME or process:NAME", tick(member)),
                ),
            }
        }
        Some(GroupPlan { name: typed.name.to_string(), members })
    }

    /// The place that faults at `one` and at `other` both act at, members of groups included.
    pub fn shared(&self, one: &Place, other: &Place) -> Option<Place> {
        let all =
            |place: &Place| match self.known.groups.iter().find(|g| *place == Place::Group(g.name.clone())) {
                Some(group) => group.members.clone(),
                None => vec![place.clone()],
            };
        let others = all(other);
        all(one).into_iter().find(|place| others.contains(place))
    }

    /// Where a fault acts: one of the keys, naming something that there is.
    pub fn place(&self, typed: &Fault, what: &str, findings: &mut Findings) -> Option<Place> {
        let named: BTreeMap<&str, &At<String>> = [
            ("process", &typed.process),
            ("container", &typed.container),
            ("postgres", &typed.postgres),
            ("redis", &typed.redis),
            ("nats", &typed.nats),
            ("proxy", &typed.proxy),
            ("group", &typed.group),
        ]
        .into_iter()
        .filter_map(|(kind, name)| Some((kind, name.as_ref()?)))
        .collect();
        let (place, typed) = match (&typed.point, named.len()) {
            (Some(point), 0) => {
                self.inside(what, point.span(), findings)?;
                return Some(Place::Point(**point));
            }
            (None, 1) => {
                let (kind, name) = named.first_key_value()?;
                (Place::named(kind, name)?, *name)
            }
            _ => {
                findings.add(
                    typed.span_of_kind(),
                    format!("{what} it needs exactly one of point, process, container, postgres, redis, nats, proxy and group, to say where it acts"),
                );
                return None;
            }
        };
        self.is_there(&place, (typed, typed.span()), what, findings)?;
        Some(place)
    }

    /// Points are inside the reference service.
    fn inside(&self, what: &str, span: Range<usize>, findings: &mut Findings) -> Option<()> {
        let why = match self.target {
            Some(TargetPlan::Url { .. }) => {
                "which a target.url is not; name a proxy or a container, or remove the fault or the url"
            }
            Some(TargetPlan::Compose { .. }) => {
                "and those of a stack cannot be reached; name a container or a resource of the stack, or load target.system = \"reference\""
            }
            Some(TargetPlan::Reference(_)) | None => return Some(()),
        };
        findings.add(span, format!("{what} a point is inside the reference service, {why}"));
        None
    }

    /// That a name is one of what there is, or of what need not be described.
    pub fn is_there(
        &self,
        place: &Place,
        (name, span): (&str, Range<usize>),
        what: &str,
        findings: &mut Findings,
    ) -> Option<()> {
        let stack = |kind: &str| match self.target {
            Some(TargetPlan::Compose { .. }) => {
                STACK.iter().filter(|(k, _)| *k == kind).map(|(_, n)| *n).collect::<Vec<_>>()
            }
            _ => Vec::new(),
        };
        let resources = || self.known.resources.iter().map(|r| r.name.as_str());
        let (table, known): (&str, Vec<&str>) = match place {
            Place::Process(_) if name == "target" => {
                if matches!(self.target, Some(TargetPlan::Reference(_)) | None) {
                    return Some(());
                }
                findings.add(
                    span,
                    format!("{what} process \"target\" is the reference service that a run starts; name a process id or a container"),
                );
                return None;
            }
            Place::Process(_) if name.parse::<i32>().is_ok_and(|pid| pid > 1) => return Some(()),
            Place::Process(_) => {
                findings.add(
                    span,
                    format!("{what} process {} is neither \"target\" nor a process id above 1", tick(name)),
                );
                return None;
            }
            Place::Container(_)
                if !name.is_empty() && name.len() <= 128 && !name.contains(char::is_control) =>
            {
                return Some(());
            }
            Place::Point(_) => return Some(()),
            Place::Container(_) => {
                findings.add(span, format!("{what} {} is no name of a container", tick(name)));
                return None;
            }
            Place::Postgres(_) => ("resource", resources().chain(stack("postgres")).collect()),
            Place::Redis(_) => ("resource", resources().chain(stack("redis")).collect()),
            Place::Nats(_) => ("resource", resources().chain(stack("nats")).collect()),
            Place::Proxy(_) => ("proxy", self.known.proxies.iter().map(|p| p.name.as_str()).collect()),
            Place::Group(_) => ("group", self.known.groups.iter().map(|g| g.name.as_str()).collect()),
        };
        if known.contains(&name) {
            return Some(());
        }
        let hint = did_you_mean(name, known.iter().copied());
        let all = if known.is_empty() { "there is none".to_owned() } else { known.join(", ") };
        findings.add(
            span,
            format!(
                "{what} there is no {table} {}{hint} (known: {all}); describe it in [[{table}]]",
                tick(name)
            ),
        );
        None
    }
}

impl Fault {
    fn span_of_kind(&self) -> Range<usize> {
        self.kind.span()
    }
}
