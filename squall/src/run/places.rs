//! What the places of a plan's faults are, in this run: processes by their ids, databases by the variables that hold their
//! URLs.

use anyhow::{Context, bail};
use squall_chaos::acts::order::Target;
use squall_chaos::acts::who::ProcessId;
use squall_record::fault::{Effect, FaultSpec, Place};
use squall_scenarios::plan::{PlacesPlan, Plan};

use super::child::ReferenceService;
use super::stack::{PROJECT, Stack};

/// The variables in which the guard finds the URLs of a stack's resources begin so.
const STACK_PREFIX: &str = "SQUALL_STACK_";

/// What was started for the run, as far as faults act on it.
#[derive(Clone, Copy, Default)]
pub struct Places<'a> {
    /// The reference service as a child.
    pub service: Option<&'a ReferenceService>,
    /// The reference service as a stack.
    pub stack: Option<&'a Stack>,
}

impl Places<'_> {
    /// What `fault` acts on.
    ///
    /// # Errors
    /// When there is no such thing, or not any more.
    pub fn of(&self, fault: &FaultSpec, plan: &PlacesPlan) -> anyhow::Result<Vec<Target>> {
        let place = &fault.place;
        let mut targets = vec![match place {
            Place::Group(name) => {
                let group = plan.groups.iter().find(|g| g.name == *name);
                let group = group.with_context(|| format!("there is no group {name}"))?;
                return group.members.iter().map(|member| self.one(member, plan)).collect();
            }
            one => self.one(one, plan)?,
        }];
        if let Effect::Failover { replica } = &fault.effect {
            targets.push(Target::Postgres { url_env: self.url_env(replica, plan) });
            // Its own primary can be stopped.
            if self.is_of_the_stack(place, plan) {
                targets.push(Target::Container {
                    name: "postgres".to_owned(),
                    project: Some(PROJECT.to_owned()),
                });
            }
        }
        Ok(targets)
    }

    fn one(&self, place: &Place, plan: &PlacesPlan) -> anyhow::Result<Target> {
        Ok(match place {
            Place::Process(name) if name == "target" => {
                let service = self
                    .service
                    .context("process \"target\" is the reference service, which this run has not started")?;
                let pid = i32::try_from(service.pid()).context("read the service's process id")?;
                let process =
                    ProcessId::of(pid).context("the reference service does not run at the moment")?;
                Target::Process { process, data: Some(service.data().to_owned()), comes_back: true }
            }
            Place::Process(name) => {
                let pid = name.parse().with_context(|| format!("{name} is no process id"))?;
                let process = ProcessId::of(pid).with_context(|| format!("there is no process {pid}"))?;
                Target::Process { process, data: None, comes_back: false }
            }
            Place::Container(name) => {
                Target::Container { name: name.clone(), project: Some(PROJECT.to_owned()) }
            }
            Place::Postgres(name) => Target::Postgres { url_env: self.url_env(name, plan) },
            Place::Redis(name) => Target::Redis { url_env: self.url_env(name, plan) },
            Place::Nats(name) => Target::Nats { url_env: self.url_env(name, plan) },
            Place::Proxy(name) => bail!("proxy {name} is no place of the guard's"),
            Place::Point(point) => bail!("{} is a point of the service", point.name()),
            Place::Group(name) => bail!("group {name} is in a group"),
        })
    }

    /// The variable that holds the URL of the resource called `name`.
    fn url_env(&self, name: &str, plan: &PlacesPlan) -> String {
        match plan.resources.iter().find(|r| r.name == name) {
            Some(resource) => resource.url_env.clone(),
            None => format!("{STACK_PREFIX}{}", name.to_uppercase()),
        }
    }

    fn is_of_the_stack(&self, place: &Place, plan: &PlacesPlan) -> bool {
        let name = match place {
            Place::Postgres(name) | Place::Redis(name) | Place::Nats(name) => name,
            _ => return false,
        };
        self.stack.is_some() && !plan.resources.iter().any(|r| r.name == *name)
    }

    /// What the guard is told in its environment: the URLs of those resources of the stack that faults act on.
    ///
    /// # Errors
    /// When one of them cannot be found.
    pub fn environment(&self, plan: &Plan) -> anyhow::Result<Vec<(String, String)>> {
        let Some(stack) = self.stack else { return Ok(Vec::new()) };
        let mut names: Vec<&str> = Vec::new();
        for fault in
            plan.faults.iter().map(|f| &f.fault).filter(|f| self.is_of_the_stack(&f.place, &plan.places))
        {
            match &fault.place {
                Place::Postgres(name) | Place::Redis(name) | Place::Nats(name) => names.push(name),
                _ => {}
            }
            if let Effect::Failover { replica } = &fault.effect {
                names.push(replica);
            }
        }
        names.sort_unstable();
        names.dedup();
        names.into_iter().map(|name| Ok((self.url_env(name, &plan.places), stack.url_of(name)?))).collect()
    }
}
